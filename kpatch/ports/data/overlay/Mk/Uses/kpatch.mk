# Repair a kernel module after it is built, and prove the repair.
#
# Feature:	kpatch
# Usage:	USES=kpatch or USES=kpatch:FILE[,FILE...]
# Valid ARGS:	kernel modules that the build makes, each ending in ".ko"
#		Default: kqemu.ko
#		A name alone is looked for in BUILD_WRKSRC, then below WRKDIR.
#		A name with a folder is taken from BUILD_WRKSRC.
#
# Variables (all may be set in make.conf):
#
# KPATCH		- The program. One word, a name in PATH or a full path.
#			  Default: kpatch
# KPATCH_FILES		- The modules, when USES=kpatch has no arguments.
#			  Default: kqemu.ko
# KPATCH_OSVERSION	- __FreeBSD_version of the kernel that the module is for.
#			  Default: OSVERSION, or what --kernel FILE says
# KPATCH_FLAGS		- More options for "kpatch hook", for example --no-verify.
#			  Default: empty
# KPATCH_DEPENDS	- The build dependency. Empty: none.
#			  Default: ${KPATCH}:sysutils/kpatch where the tree or an
#			  overlay has that port, else none
#
# The build gets two steps behind everything else it does, and the stage one:
#
#   kpatch-program	asserts that the program is there, before anything is compiled
#   kpatch-apply	repairs the module, or says why it needs no repair
#   kpatch-verify	proves the repair on the file as it now is
#   kpatch-staged	checks that the staged file is the one that was proven
#
# Each fails the build when it cannot do its work. The modules are then taken away, so
# that nothing goes on with them, "make -k" included: what was built is kept as
# NAME.refused, what was staged is removed.

.if !defined(_INCLUDE_USES_KPATCH_MK)
_INCLUDE_USES_KPATCH_MK=	yes

_USES_POST+=	kpatch

KPATCH?=		kpatch
KPATCH_OSVERSION?=
KPATCH_FLAGS?=
.  if !empty(kpatch_ARGS)
KPATCH_FILES=		${kpatch_ARGS}
.  else
KPATCH_FILES?=		kqemu.ko
.  endif

# A name that starts with a dash would be read as an option; ".." would leave the work folder.
_KPATCH_BAD_FILES=	${KPATCH_FILES:N*.ko} ${KPATCH_FILES:M-*} ${KPATCH_FILES:M*..*}
.  if !empty(_KPATCH_BAD_FILES:M*)
IGNORE=	has an incorrect USES=kpatch or KPATCH_FILES: "${_KPATCH_BAD_FILES:M*:[1]}" is not the name of a kernel module
.  elif empty(KPATCH_FILES:M*)
IGNORE=	has an empty KPATCH_FILES: name the kernel module to repair
.  endif

# A dependency on a port that is not there would make "clean" and the lists complain.
.  for _kpatch_tree in ${OVERLAYS} ${PORTSDIR}
.    if exists(${_kpatch_tree}/sysutils/kpatch/Makefile)
KPATCH_DEPENDS?=	${KPATCH:S/^$/kpatch/}:sysutils/kpatch
.    endif
.  endfor
KPATCH_DEPENDS?=
.  if !empty(KPATCH_DEPENDS)
BUILD_DEPENDS+=		${KPATCH_DEPENDS}
.  endif

.endif

# The fragment for maintainers (files/kpatch.mk) has the same steps: then these stay out.
.if defined(_POSTMKINCLUDED) && !defined(_INCLUDE_USES_KPATCH_POST_MK) && !defined(KPATCH_FRAGMENT)
_INCLUDE_USES_KPATCH_POST_MK=	yes

# Numbers sort as text, so they all have three digits. build-depends is 150, post-build 700
# and scripts/post-build 850; post-stage is 800 and the tree's own checks start at 990.
_USES_configure+=	155:kpatch-program
_USES_build+=	900:kpatch-apply 910:kpatch-verify
_USES_stage+=	950:kpatch-staged

# Empty means the default, as in the scripts. A kernel file says its version itself: that
# of the tree would contradict it.
_KPATCH=	${KPATCH:S/^$/kpatch/}
.  if empty(KPATCH_OSVERSION) && !empty(KPATCH_FLAGS:M--kernel*)
_KPATCH_KERNEL=
.  else
_KPATCH_KERNEL=	--osversion=${KPATCH_OSVERSION:S/^$/${OSVERSION}/:Q}
.  endif
_KPATCH_WHERE=	--wrkdir=${WRKDIR:Q} --wrksrc=${BUILD_WRKSRC:Q} --stagedir=${STAGEDIR:Q}
_KPATCH_ARGS=	${_KPATCH_WHERE} ${_KPATCH_KERNEL} ${KPATCH_FLAGS} ${KPATCH_FILES}

_KPATCH_WITHDRAW=	code=$$?; for name in ${KPATCH_FILES:T}; do \
			find ${STAGEDIR:Q} -type f -name "$$name" -exec rm -f {} \; \
				-exec ${ECHO_MSG} "kpatch: removed, because of this error: {}" \; 2>/dev/null; \
			find ${WRKDIR:Q} -type f -name "$$name" -exec mv -f {} {}.refused \; \
				-exec ${ECHO_MSG} "kpatch: kept as {}.refused, which no later step takes" \; ; \
			done; exit $$code

kpatch-program:
	@command -v ${_KPATCH} >/dev/null || { \
		${ECHO_MSG} "kpatch: no program ${_KPATCH}: install kpatch, or set KPATCH to its path"; exit 1; }

kpatch-apply:
	@${ECHO_MSG} "===>   Repairing ${KPATCH_FILES} with kpatch"
	@${_KPATCH} hook apply ${_KPATCH_ARGS} || { ${_KPATCH_WITHDRAW}; }

kpatch-verify:
	@${_KPATCH} hook verify ${_KPATCH_ARGS} || { ${_KPATCH_WITHDRAW}; }

kpatch-staged:
	@${_KPATCH} hook staged ${_KPATCH_ARGS} || { ${_KPATCH_WITHDRAW}; }

.endif
