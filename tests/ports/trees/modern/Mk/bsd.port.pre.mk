BEFOREPORTMK=	yes
.include "${PORTSDIR}/Mk/bsd.port.mk"
.undef BEFOREPORTMK
