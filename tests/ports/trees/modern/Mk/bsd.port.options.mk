USEOPTIONSMK=	yes
INOPTIONSMK=	yes
.include "${PORTSDIR}/Mk/bsd.port.mk"
.undef INOPTIONSMK
