# The system's entry to the ports tree, as /usr/share/mk has it.

.include "${PORTSDIR}/Mk/bsd.port.mk"
