# Functions for scripts/post-build and scripts/post-install of a port.
#
# The tree runs these scripts with CURDIR, WRKDIR, WRKSRC and SCRIPTDIR in the
# environment. Everything else is asked of the tree, so that a variable works from
# make.conf, from the command line of make and from the environment alike:
#
# KPATCH            the program: one word, a name in PATH or a full path. Default: kpatch
# KPATCH_FILES      the modules that the build makes. Default: kqemu.ko
# KPATCH_OSVERSION  __FreeBSD_version of the kernel. Default: OSVERSION of the tree
# KPATCH_FLAGS      more options for "kpatch hook", for example --no-verify

set -eu

: "${CURDIR:?is not set: the ports tree runs this script, nobody else}"
: "${WRKDIR:?is not set: the ports tree runs this script, nobody else}"

# BUILD_WRKSRC is never empty, so as the last line it keeps the empty lines before it.
kpatch_answers=$(cd "$CURDIR" && "${MAKE:-make}" -V KPATCH -V KPATCH_FILES \
    -V KPATCH_OSVERSION -V OSVERSION -V KPATCH_FLAGS -V STAGEDIR -V DESTDIR -V KMODDIR \
    -V BUILD_WRKSRC)
{
	read -r kpatch_program
	read -r kpatch_files
	read -r kpatch_wanted
	read -r kpatch_osversion
	read -r kpatch_flags
	read -r kpatch_stagedir
	read -r kpatch_destdir
	read -r kpatch_kmoddir
	read -r kpatch_wrksrc
} <<END
$kpatch_answers
END
: "${kpatch_wrksrc:?is empty: make did not answer as a ports tree does}"
: "${kpatch_files:=kqemu.ko}"

# A tree without a stage installs at once: look where the module went.
: "${kpatch_stagedir:=$kpatch_destdir${kpatch_kmoddir:-/boot/modules}}"

# kpatch_step STEP: run one step (apply, verify or staged) over all modules.
kpatch_step() {
	# Flags and files are lists of words.
	# shellcheck disable=SC2086
	"${kpatch_program:-kpatch}" hook "$1" --wrkdir="$WRKDIR" --wrksrc="$kpatch_wrksrc" \
	    --stagedir="$kpatch_stagedir" --osversion="${kpatch_wanted:-$kpatch_osversion}" \
	    $kpatch_flags $kpatch_files
}
