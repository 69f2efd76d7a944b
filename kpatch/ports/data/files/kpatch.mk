# Repair a kernel module after it is built, and prove the repair.
#
# For a maintainer who edits the port. Works in trees of 2008 and later. Put this
# file into files/ of the port, and this line just before the last .include:
#
#	.include "${.CURDIR}/files/kpatch.mk"
#
# It hangs on post-build-script and post-install-script, which every tree runs after
# post-build and post-install. So it never collides with targets of the port, and
# still runs scripts/post-build and scripts/post-install when the port has them.
#
# Variables (all may be set in make.conf):
#
# KPATCH		- The program: one word, a name in PATH or a full path.
#			  Default: kpatch
# KPATCH_FILES		- The modules that the build makes. Default: kqemu.ko
# KPATCH_OSVERSION	- __FreeBSD_version of the kernel. Default: OSVERSION
# KPATCH_FLAGS		- More options for "kpatch hook", for example --no-verify.
# KPATCH_DEPENDS	- The build dependency. Default: none. For example
#			  ${KPATCH}:${PORTSDIR}/sysutils/kpatch

KPATCH?=		kpatch
KPATCH_FILES?=		kqemu.ko
KPATCH_OSVERSION?=	${OSVERSION}
KPATCH_FLAGS?=
KPATCH_DEPENDS?=
.if !empty(KPATCH_DEPENDS)
BUILD_DEPENDS+=		${KPATCH_DEPENDS}
.endif

# A tree without a stage (before 2013) installs at once, to DESTDIR and KMODDIR.
KPATCH_STAGED_SH=	staged="${STAGEDIR}"; kmoddir="${KMODDIR}"; \
			staged="$${staged:-${DESTDIR}$${kmoddir:-/boot/modules}}"
KPATCH_ARGS=		--wrkdir="${WRKDIR}" --wrksrc="${BUILD_WRKSRC}" \
			--stagedir="$${staged}" --osversion="${KPATCH_OSVERSION}" \
			${KPATCH_FLAGS} ${KPATCH_FILES}
KPATCH_PORT_SCRIPT_SH=	if [ -f "$${script}" ]; then \
			cd ${.CURDIR} && ${SETENV} ${SCRIPTS_ENV} ${SH} "$${script}"; fi

post-build-script:
	@script="${SCRIPTDIR}/post-build"; ${KPATCH_PORT_SCRIPT_SH}
	@${ECHO_MSG} "===>   Repairing ${KPATCH_FILES} with kpatch"
	@${KPATCH_STAGED_SH}; ${KPATCH} hook apply ${KPATCH_ARGS}
	@${KPATCH_STAGED_SH}; ${KPATCH} hook verify ${KPATCH_ARGS}

post-install-script:
	@script="${SCRIPTDIR}/post-install"; ${KPATCH_PORT_SCRIPT_SH}
	@${KPATCH_STAGED_SH}; ${KPATCH} hook staged ${KPATCH_ARGS}
