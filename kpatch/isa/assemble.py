"""Assembly text to machine code. The only module that knows Keystone.

Keystone 0.9.2 has known wrong encodings: whoever calls this decodes every byte back and compares
(:mod:`kpatch.patch.trampoline` does; what is fixed text is compared where it stands).
"""

from __future__ import annotations

from kpatch.errors import SignatureError


def assemble(source: str) -> bytes:
    """Assemble Intel-syntax x86-64 ``source`` at address 0. Labels may be used before they stand.

    Raises SignatureError with the assembler's words where it refuses the text.
    """
    # Imported here: 0.02 s and a shared library that scan never needs.
    import keystone

    engine = keystone.Ks(keystone.KS_ARCH_X86, keystone.KS_MODE_64)
    try:
        encoded, _ = engine.asm(source)
    except keystone.KsError as error:
        raise SignatureError(
            f"the assembler refuses the text: {error}", todo="mend the assembly text"
        ) from error
    return bytes(encoded or [])
