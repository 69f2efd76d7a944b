# A small ports framework for tests, with the order of targets and the ways in of the
# trees of 2008 to 2013: no stage (install copies to DESTDIR at once), no overlays, no
# targets from USES; every pre- and post- target and its script always exists.
# Written with the modifiers of today's make; OLD_MODIFIERS shows what the old ones do.

.MAIN: all

SH?=		/bin/sh
SETENV?=	/usr/bin/env
ECHO_MSG?=	echo
MKDIR?=		mkdir -p
TOUCH?=		touch
PREFIX?=	/usr/local

.if !defined(AFTERPORTMK)
MASTERDIR?=	${.CURDIR}
.  if exists(${MASTERDIR}/Makefile.local)
.include "${MASTERDIR}/Makefile.local"
USE_SUBMAKE=	yes
.  endif
PKGNAME=	${PORTNAME}${PKGNAMESUFFIX}-${PORTVERSION}
SCRIPTDIR?=	${MASTERDIR}/scripts
FILESDIR?=	${MASTERDIR}/files
.endif

.if !defined(BEFOREPORTMK)
WRKDIR?=	${WRKDIRPREFIX}${.CURDIR}/work
WRKSRC?=	${WRKDIR}/${PORTNAME}-${PORTVERSION}
BUILD_WRKSRC?=	${WRKSRC}
INSTALL_WRKSRC?=	${WRKSRC}
KMODDIR?=	/boot/modules
SCRIPTS_ENV+=	CURDIR=${MASTERDIR} WRKDIR=${WRKDIR} WRKSRC=${WRKSRC} \
		SCRIPTDIR=${SCRIPTDIR} FILESDIR=${FILESDIR} PORTSDIR=${PORTSDIR} PREFIX=${PREFIX}

.  for phase in extract patch configure build install package
${phase:tu}_COOKIE?=	${WRKDIR}/.${phase}_done.${PORTNAME}.${PREFIX:S,/,_,g}
.  endfor

.  if !target(all)
all: build
.  endif

build-depends:
.  for depends in ${BUILD_DEPENDS}
	@command -v "${depends:C/:.*//}" >/dev/null || { echo "no ${depends}"; exit 1; }
.  endfor

clean-wrkdir:
	@rm -rf ${WRKDIR}
	@${MKDIR} ${WRKSRC}
install-mtree:
	@${MKDIR} ${DESTDIR}${KMODDIR}

.  for phase in extract patch configure build install package
${phase}-message:
	@${ECHO_MSG} "===>  ${phase} ${PKGNAME}"
.    if !target(do-${phase})
do-${phase}:
	@true
.    endif
.    for when in pre post
.      if !target(${when}-${phase})
${when}-${phase}:
	@true
.      endif
.      if !target(${when}-${phase}-script)
${when}-${phase}-script:
	@if [ -f ${SCRIPTDIR}/${.TARGET:S/-script$//} ]; then \
		cd ${.CURDIR} && ${SETENV} ${SCRIPTS_ENV} ${SH} \
			${SCRIPTDIR}/${.TARGET:S/-script$//}; \
	fi
.      endif
.    endfor
.  endfor

_EXTRACT_DEP=
_EXTRACT_SEQ=	extract-message clean-wrkdir pre-extract pre-extract-script do-extract \
		post-extract post-extract-script
_PATCH_DEP=	extract
_PATCH_SEQ=	patch-message pre-patch pre-patch-script do-patch post-patch post-patch-script
_CONFIGURE_DEP=	patch
_CONFIGURE_SEQ=	build-depends configure-message pre-configure pre-configure-script \
		do-configure post-configure post-configure-script
_BUILD_DEP=	configure
_BUILD_SEQ=	build-message pre-build pre-build-script do-build post-build post-build-script
_INSTALL_DEP=	build
_INSTALL_SEQ=	install-message pre-install pre-install-script install-mtree do-install \
		post-install post-install-script
_PACKAGE_DEP=	install
_PACKAGE_SEQ=	package-message pre-package pre-package-script do-package \
		post-package post-package-script

.  for phase in extract patch configure build install package
.PHONY: ${phase}
.    if defined(OLD_MODIFIERS)
# What ${target:U}_COOKIE is to a make that reads :U as "or this, if unset": _COOKIE
# of a phase in lower case, which nothing defines.
${phase}: ${${phase:U}_COOKIE}
.    else
${phase}: ${${phase:tu}_COOKIE}
.    endif
.    if exists(${${phase:tu}_COOKIE})
${${phase:tu}_COOKIE}::
	@test -e ${.TARGET} || { cd ${.CURDIR} && ${MAKE} ${.TARGET}; }
.    elif defined(USE_SUBMAKE)
${${phase:tu}_COOKIE}: ${_${phase:tu}_DEP}
	@cd ${.CURDIR} && ${MAKE} ${_${phase:tu}_SEQ}
	@${TOUCH} ${.TARGET}
.    else
${${phase:tu}_COOKIE}: ${_${phase:tu}_DEP} ${_${phase:tu}_SEQ}
	@${TOUCH} ${.TARGET}
.    endif
.ORDER: ${_${phase:tu}_DEP} ${_${phase:tu}_SEQ}
.PHONY: ${_${phase:tu}_SEQ}
.  endfor

clean:
	@rm -rf ${WRKDIR}
.endif
