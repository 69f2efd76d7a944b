# Repair a kernel module after it is built, and prove the repair.
#
# For a maintainer who edits the port. Works in trees of 2008 and later. Put this
# file into files/ of the port, and this line just before the last .include:
#
#	.include "${.CURDIR}/files/kpatch.mk"
#
# It hangs on post-build-script, post-install-script and pre-package-script, which every
# tree runs after post-build and post-install and before do-package. So it never collides
# with targets of the port, and still runs the port's scripts of these names. Where
# USES=kpatch or the scripts of kpatch are there too, only the fragment does the work.
#
# Where a step fails the modules are taken away, so that nothing goes on with them,
# "make -k" included: what was built is kept as NAME.refused, what was staged, or
# installed by this build, is removed.
#
# Variables (all may be set in make.conf):
#
# KPATCH		- The program: one word, a name in PATH or a full path.
#			  Default: kpatch
# KPATCH_FILES		- The modules that the build makes. Default: kqemu.ko
# KPATCH_OSVERSION	- __FreeBSD_version of the kernel. Default: OSVERSION,
#			  or what --kernel FILE says
# KPATCH_FLAGS		- More options for "kpatch hook", for example --no-verify.
# KPATCH_DEPENDS	- The build dependency. Default: none. For example
#			  ${KPATCH}:${PORTSDIR}/sysutils/kpatch

KPATCH_FRAGMENT=	yes
KPATCH?=		kpatch
KPATCH_FILES?=		kqemu.ko
KPATCH_OSVERSION?=
KPATCH_FLAGS?=
KPATCH_DEPENDS?=
.if !empty(KPATCH_DEPENDS)
BUILD_DEPENDS+=		${KPATCH_DEPENDS}
.endif

# A tree without a stage (before 2013) installs at once, to DESTDIR and KMODDIR.
KPATCH_STAGED_SH=	staged="${STAGEDIR}"; kmoddir="${KMODDIR}"; \
			staged="$${staged:-${DESTDIR}$${kmoddir:-/boot/modules}}"
# Empty means the default, as in the scripts. A kernel file says its version itself: that
# of the tree would contradict it.
.if empty(KPATCH_FLAGS:M--kernel*)
KPATCH_TREE_OSVERSION=	${OSVERSION}
.endif
KPATCH_DEFAULTS_SH=	program="${KPATCH}"; program="$${program:-kpatch}"; \
			files="${KPATCH_FILES}"; files="$${files:-kqemu.ko}"; \
			kernel="${KPATCH_OSVERSION}"; kernel="$${kernel:-${KPATCH_TREE_OSVERSION}}"
KPATCH_ARGS=		--wrkdir="${WRKDIR}" --wrksrc="${BUILD_WRKSRC}" \
			--stagedir="$${staged}" $${kernel:+--osversion="$${kernel}"} \
			${KPATCH_FLAGS} $${files}
KPATCH_STEP_SH=		${KPATCH_STAGED_SH}; ${KPATCH_DEFAULTS_SH}; \
			$${program} hook $${step} ${KPATCH_ARGS} || { \
			code=$$?; for name in $${files}; do name=$$(basename "$$name"); \
			if [ "${STAGEDIR}" ] || [ $${step} = staged ]; then \
				find "$${staged}" -type f -name "$$name" -exec rm -f {} \; \
				-exec echo "kpatch: removed, because of this error: {}" \; 2>/dev/null; fi; \
			find "${WRKDIR}" -type f -name "$$name" -exec mv -f {} {}.refused \; \
				-exec echo "kpatch: kept as {}.refused, which no later step takes" \; ; \
			done; exit $$code; }
KPATCH_PORT_SCRIPT_SH=	if [ -f "$${script}" ]; then \
			cd ${.CURDIR} && ${SETENV} ${SCRIPTS_ENV} KPATCH_FRAGMENT=yes \
			${SH} "$${script}"; fi

post-build-script:
	@script="${SCRIPTDIR}/post-build"; ${KPATCH_PORT_SCRIPT_SH}
	@${ECHO_MSG} "===>   Repairing ${KPATCH_FILES} with kpatch"
	@step=apply; ${KPATCH_STEP_SH}
	@step=verify; ${KPATCH_STEP_SH}

post-install-script:
	@script="${SCRIPTDIR}/post-install"; ${KPATCH_PORT_SCRIPT_SH}
	@step=staged; ${KPATCH_STEP_SH}
	@if [ "${STAGEDIR}" ]; then ${ECHO_MSG} "kpatch staged: post-stage of the port runs" \
		"after this check; make package checks again"; fi

pre-package-script:
	@script="${SCRIPTDIR}/pre-package"; ${KPATCH_PORT_SCRIPT_SH}
	@step=packaged; ${KPATCH_STEP_SH}
