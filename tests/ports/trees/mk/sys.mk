# The system makefile of the test machine: as on FreeBSD it reads make.conf first,
# and prints variables expanded for "make -V".

.MAKE.EXPAND_VARIABLES=	yes
SHELL?=			/bin/sh
__MAKE_CONF?=		/etc/make.conf
.if exists(${__MAKE_CONF})
.include "${__MAKE_CONF}"
.endif
