#!/bin/sh
# Package:   click 8.5.1 (PyPI), with fish 3.6.0-3.1+deb12u1 (Debian 12)
# Behaviour: the completion script for fish splits each answer at every comma and takes the second
#            part, so the help of an option ends at its first comma, and a value is cut at one.
# Expected:  the whole help behind the tab, as fish's manual (complete) has it, and the whole value.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" --quiet --disable-pip-version-check install click==8.5.1
cd "$work"
apt-get download -qq fish=3.6.0-3.1+deb12u1 fish-common=3.6.0-3.1+deb12u1 2>/dev/null
for package in *.deb; do dpkg -x "$package" root; done
cat > "$work/venv/bin/tool" <<END
#!$work/venv/bin/python
import click


@click.command()
@click.option("--size", type=click.Choice(["1", "2,4"]), help="Small (1), medium (2), or large.")
def tool(size):
    pass


tool(prog_name="tool")
END
chmod +x "$work/venv/bin/tool"
export PATH="$work/venv/bin:$PATH" HOME="$work"
"$work/root/usr/bin/fish" --no-config -c '
    _TOOL_COMPLETE=fish_source tool | source
    complete -C "tool --si"; complete -C "tool --size "
' 2> "$work/errors" | tr '\t' '|' > "$work/seen"
cat > "$work/stated" <<'END'
--size|Small (1)
1
2
END
diff -u "$work/stated" "$work/seen"
cat "$work/seen"
echo 'as stated'
