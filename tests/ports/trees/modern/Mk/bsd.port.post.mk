AFTERPORTMK=	yes
.include "${PORTSDIR}/Mk/bsd.port.mk"
.undef AFTERPORTMK
