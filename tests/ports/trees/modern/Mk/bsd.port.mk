# A small ports framework for tests, with the sections, the order of targets and the
# ways in of the trees since 2019: an options, a pre and a post section; Makefile.local;
# origin_VARS; overlays; Uses with _USES_<phase> and _USES_POST; scripts; cookies.

.if !target(all)
.MAIN: all
all: build
.endif

SH?=		/bin/sh
SETENV?=	/usr/bin/env
ECHO_MSG?=	echo
MKDIR?=		mkdir -p
TOUCH?=		touch
PREFIX?=	/usr/local
OPSYS?=		FreeBSD
ARCH?=		amd64
.if !defined(OSVERSION)
.error OSVERSION is not set
.endif

# --- options section
.if defined(INOPTIONSMK) || (!defined(USEOPTIONSMK) && !defined(AFTERPORTMK))
MASTERDIR?=	${.CURDIR}
.  if exists(${MASTERDIR}/Makefile.local)
.include "${MASTERDIR}/Makefile.local"
USE_SUBMAKE=	yes
.  endif
PKGCATEGORY?=	${CATEGORIES:[1]}
PKGORIGIN?=	${PKGCATEGORY}/${.CURDIR:T}
.  for setting in ${${PKGORIGIN:S,/,_,}_VARS}
.    for name in ${setting:C/=.*//}
.      if ${name:M*+}
${name:S/+$//}+=	${setting:C/^[^=]*=//}
.      else
${name}=	${setting:C/^[^=]*=//}
.      endif
.    endfor
.  endfor
.endif

# --- pre section
.if !defined(AFTERPORTMK) && !defined(INOPTIONSMK)
PKGNAME=	${PORTNAME}${PKGNAMESUFFIX}-${PORTVERSION}
SCRIPTDIR?=	${MASTERDIR}/scripts
FILESDIR?=	${MASTERDIR}/files
USESDIR?=	${PORTSDIR}/Mk/Uses
.  for phase in extract patch configure build install stage package
_USES_${phase}?=
.  endfor
.  for use in ${USES}
_use:=		${use:C/:.*//}
.    if !defined(${_use}_ARGS)
${_use}_ARGS:=	${use:C/^[^:]*(:|$)//:S/,/ /g}
.    endif
.  endfor
_LOADS=		${USES}
.  for use in ${_LOADS}
.    undef _found
.    for folder in ${OVERLAYS:C,$,/Mk/Uses,} ${USESDIR}
.      if exists(${folder}/${use:C/:.*//}.mk) && !defined(_found)
_found=		yes
.include "${folder}/${use:C/:.*//}.mk"
.      endif
.    endfor
.    if !defined(_found)
ERROR+=		"Unknown USES=${use:C/:.*//}"
.    endif
.  endfor
.endif

# --- post section
.if !defined(BEFOREPORTMK) && !defined(INOPTIONSMK)
_POSTMKINCLUDED=	yes
WRKDIR?=	${WRKDIRPREFIX}${.CURDIR}/work
WRKSRC?=	${WRKDIR}/${PORTNAME}-${PORTVERSION}
BUILD_WRKSRC?=	${WRKSRC}
INSTALL_WRKSRC?=	${WRKSRC}
STAGEDIR?=	${WRKDIR}/stage
.  for use in ${_USES_POST}
.    undef _found
.    for folder in ${OVERLAYS:C,$,/Mk/Uses,} ${USESDIR}
.      if exists(${folder}/${use:C/:.*//}.mk) && !defined(_found)
_found=		yes
.include "${folder}/${use:C/:.*//}.mk"
.      endif
.    endfor
.  endfor
SCRIPTS_ENV+=	CURDIR=${MASTERDIR} WRKDIR=${WRKDIR} WRKSRC=${WRKSRC} \
		SCRIPTDIR=${SCRIPTDIR} FILESDIR=${FILESDIR} PORTSDIR=${PORTSDIR} PREFIX=${PREFIX}

.  for phase in extract patch configure build stage install package
${phase:tu}_COOKIE?=	${WRKDIR}/.${phase}_done.${PORTNAME}.${PREFIX:S,/,_,g}
.  endfor

check-ignore:
.  if defined(ERROR)
	@${ECHO_MSG} ${ERROR}
	@false
.  endif
.  if defined(IGNORE)
	@${ECHO_MSG} "===>  ${PKGNAME} "${IGNORE:Q}.
	@false
.  endif

# As Mk/Scripts/do-depends.sh: a program counts where "which -s" finds it, a path where
# it exists; only for one that is missing is the origin looked at.
build-depends:
.  for depends in ${BUILD_DEPENDS}
	@pattern="${depends:C/:.*//}"; case "$$pattern" in \
	    /*) test -e "$$pattern" ;; *) which -s "$$pattern" ;; esac \
	    && ${ECHO_MSG} "===>   ${PKGNAME} depends on executable: $$pattern - found" \
	    || { ${ECHO_MSG} "===>   ${PKGNAME} depends on executable: $$pattern - not found"; \
	    origin="${PORTSDIR}/${depends:C/^[^:]*://}"; test -f "$$origin/Makefile" \
	    || { ${ECHO_MSG} "Error a dependency refers to a non existing origin: $$origin" \
	    "in BUILD_DEPENDS"; exit 1; }; ${MAKE} -C "$$origin" install; }
.  endfor

all-depends-list:
.  for depends in ${BUILD_DEPENDS:C/^[^:]*://}
	@if [ -d ${PORTSDIR}/${depends} ]; then echo ${PORTSDIR}/${depends}; else echo \
	    "${PKGNAME}: \"${PORTSDIR}/${depends}\" non-existent -- dependency list incomplete" >&2; fi
.  endfor

.  for phase in extract patch configure build stage package
${phase}-message:
	@${ECHO_MSG} "===>  ${phase} ${PKGNAME}"
.    if !target(do-${phase}) && ${phase} != "stage"
do-${phase}:
	@true
.    endif
.  endfor
clean-wrkdir:
	@rm -rf ${WRKDIR}
	@${MKDIR} ${WRKSRC}
stage-dir:
	@${MKDIR} ${STAGEDIR}
.  if exists(${SCRIPTDIR})
.    for when in pre post
.      for phase in extract patch configure build install stage package
.        if exists(${SCRIPTDIR}/${when}-${phase}) && !target(${when}-${phase}-script)
${when}-${phase}-script:
	@cd ${.CURDIR} && ${SETENV} ${SCRIPTS_ENV} ${SH} ${SCRIPTDIR}/${when}-${phase}
.        endif
.      endfor
.    endfor
.  endif

_EXTRACT_DEP=	check-ignore
_EXTRACT_SEQ=	050:extract-message 190:clean-wrkdir 300:pre-extract 500:do-extract \
		700:post-extract ${_USES_extract}
_PATCH_DEP=	extract
_PATCH_SEQ=	100:patch-message 300:pre-patch 500:do-patch 700:post-patch ${_USES_patch}
_CONFIGURE_DEP=	patch
_CONFIGURE_SEQ=	150:build-depends 200:configure-message 300:pre-configure 500:do-configure \
		700:post-configure ${_USES_configure}
_BUILD_DEP=	configure
_BUILD_SEQ=	100:build-message 300:pre-build 450:pre-build-script 500:do-build \
		700:post-build 850:post-build-script ${_USES_build}
_STAGE_DEP=	build
_STAGE_SEQ=	050:stage-message 100:stage-dir 300:pre-install 500:do-install \
		700:post-install 750:post-install-script 800:post-stage \
		${_USES_install} ${_USES_stage}
_INSTALL_DEP=	stage
_INSTALL_SEQ=
_PACKAGE_DEP=	stage
_PACKAGE_SEQ=	100:package-message 300:pre-package 450:pre-package-script 500:do-package \
		850:post-package-script ${_USES_package}

.  for phase in EXTRACT PATCH CONFIGURE BUILD STAGE INSTALL PACKAGE
.    for step in ${_${phase}_SEQ:O:C/^[0-9]+://}
.      if target(${step})
_${phase}_STEPS+=	${step}
_ALL_STEPS+=		${step}
.      endif
.    endfor
.ORDER: ${_${phase}_DEP} ${_${phase}_STEPS}
.  endfor
.PHONY: check-ignore ${_ALL_STEPS}

.  for phase in extract patch configure build stage install package
.PHONY: ${phase}
.    if defined(OPTIONS_DEFINE) && !defined(CONFIG_DONE)
# A port with options starts one make more, as all of them do.
${phase}:
	@cd ${.CURDIR} && ${MAKE} CONFIG_DONE=1 ${${phase:tu}_COOKIE}
.    else
${phase}: ${${phase:tu}_COOKIE}
.    endif
.    if exists(${${phase:tu}_COOKIE})
${${phase:tu}_COOKIE}::
	@test -e ${.TARGET} || { cd ${.CURDIR} && ${MAKE} ${.TARGET}; }
.    elif defined(USE_SUBMAKE)
${${phase:tu}_COOKIE}: ${_${phase:tu}_DEP}
	@cd ${.CURDIR} && ${MAKE} ${_${phase:tu}_STEPS}
	@${TOUCH} ${.TARGET}
.    else
${${phase:tu}_COOKIE}: ${_${phase:tu}_DEP} ${_${phase:tu}_STEPS}
	@${TOUCH} ${.TARGET}
.    endif
.  endfor

clean: all-depends-list
	@rm -rf ${WRKDIR}
.endif
