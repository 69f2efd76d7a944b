# A small ports framework for tests, with the order of targets and the ways in of the
# trees of 2010 and 2012: no stage (install copies to DESTDIR at once), no overlays, no
# targets from USES; every pre- and post- target and its script always exists. With
# WITH_STAGE=yes it is a tree of 2014: post-install-script is before post-stage there.
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
.  if defined(WITH_STAGE)
STAGEDIR?=	${WRKDIR}/stage
.  endif
SCRIPTS_ENV+=	CURDIR=${MASTERDIR} WRKDIR=${WRKDIR} WRKSRC=${WRKSRC} \
		SCRIPTDIR=${SCRIPTDIR} FILESDIR=${FILESDIR} PORTSDIR=${PORTSDIR} PREFIX=${PREFIX}

.  if defined(OLD_MODIFIERS) && !defined(NO_IGNORE)
# What a tree of 2010 makes of its own USE_PERL5, with a make that knows no :U and :L.
IGNORE=		improper use of USE_PERL5
.  endif

.  for phase in extract patch configure build stage install package
${phase:tu}_COOKIE?=	${WRKDIR}/.${phase}_done.${PORTNAME}.${PREFIX:S,/,_,g}
.  endfor

.  if !target(all)
all: build
.  endif

# As in all trees: the program counts, and the origin only where it is missing.
build-depends:
.  for depends in ${BUILD_DEPENDS}
	@if which -s ${depends:C/:.*//}; then \
		${ECHO_MSG} "===>   ${PKGNAME} depends on executable: ${depends:C/:.*//} - found"; \
	else \
		${ECHO_MSG} "===>   ${PKGNAME} depends on executable: ${depends:C/:.*//} - not found"; \
		cd ${depends:C/^[^:]*://} && ${MAKE} install; \
	fi
.  endfor

all-depends-list:
.  for depends in ${BUILD_DEPENDS}
	@if [ -d ${depends:C/^[^:]*://} ]; then echo ${depends:C/^[^:]*://}; else \
		echo "${PKGNAME}: \"${depends:C/^[^:]*://}\" non-existent -- dependency list incomplete" >&2; fi
.  endfor

clean-wrkdir:
	@rm -rf ${WRKDIR}
	@${MKDIR} ${WRKSRC}
install-mtree:
	@${MKDIR} ${STAGEDIR}${DESTDIR}${KMODDIR}
fake-pkg:
	@true
.  if !target(post-stage)
post-stage:
	@true
.  endif

.  for phase in extract patch configure build stage install package
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
.  if defined(WITH_STAGE)
_STAGE_DEP=	build
_STAGE_SEQ=	stage-message pre-install pre-install-script install-mtree do-install \
		post-install post-install-script post-stage
_INSTALL_DEP=	stage
_INSTALL_SEQ=	install-message fake-pkg
_PACKAGE_DEP=	stage
.  else
_INSTALL_DEP=	build
_INSTALL_SEQ=	install-message pre-install pre-install-script install-mtree do-install \
		post-install post-install-script fake-pkg
_PACKAGE_DEP=	install
.  endif
_PACKAGE_SEQ=	package-message pre-package pre-package-script do-package \
		post-package post-package-script

.  for phase in extract patch configure build ${WITH_STAGE:Dstage} install package
.PHONY: ${phase}
.    if defined(IGNORE)
${phase}:
	@${ECHO_MSG} "===>  ${PKGNAME} "${IGNORE:Q}.
	@false
.    elif defined(OPTIONS_DEFINE) && !defined(CONFIG_DONE)
# A port with options starts one make more, as all of them do.
${phase}:
	@cd ${.CURDIR} && ${MAKE} CONFIG_DONE=1 ${${phase:tu}_COOKIE}
.    elif defined(OLD_MODIFIERS)
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

clean: all-depends-list
	@rm -rf ${WRKDIR}
.endif
