# Functions for the scripts of a port: post-build, post-install and pre-package.
#
# The tree runs these scripts with CURDIR, WRKDIR, WRKSRC and SCRIPTDIR in the
# environment. Everything else is asked of the tree, so that a variable works from
# make.conf, from the command line of make and from the environment alike:
#
# KPATCH            the program: one word, a name in PATH or a full path. Default: kpatch
# KPATCH_FILES      the modules that the build makes. Default: kqemu.ko
# KPATCH_OSVERSION  __FreeBSD_version of the kernel. Default: OSVERSION of the tree, or what
#                   --kernel FILE says
# KPATCH_FLAGS      more options for "kpatch hook", for example --no-verify

set -eu

: "${CURDIR:?is not set: the ports tree runs this script, nobody else}"
: "${WRKDIR:?is not set: the ports tree runs this script, nobody else}"

# kpatch_find_make: the make that runs this script. No tree says it in the environment,
# so it is looked for among the parents: this shell, the shell of the recipe, make.
kpatch_find_make() {
	kpatch_pid=$PPID
	for kpatch_parent in 1 2 3; do
		kpatch_word=$(ps -ww -o args= -p "$kpatch_pid" 2>/dev/null) || break
		kpatch_word=${kpatch_word%% *}
		case ${kpatch_word##*/} in
		*make*)
			if command -v "$kpatch_word" >/dev/null; then
				echo "$kpatch_word"
				return
			fi ;;
		esac
		kpatch_pid=$(ps -o ppid= -p "$kpatch_pid" 2>/dev/null | tr -d ' ')
		[ "${kpatch_pid:-0}" -gt 1 ] || break
	done
	echo "${MAKE:-make}"
}

# A recipe prints the values, not "make -V": the make of old releases answers -V from
# make.conf even where the command line says otherwise. The prefix tells the answers
# from what else a make prints (with -j it names each target).
kpatch_answers=$(cd "$CURDIR" && "$(kpatch_find_make)" -f Makefile -f - kpatch-answers <<'END'
kpatch-answers:
	@printf 'kpatch:program=%s\n' ${KPATCH:Q}
	@printf 'kpatch:files=%s\n' ${KPATCH_FILES:Q}
	@printf 'kpatch:wanted=%s\n' ${KPATCH_OSVERSION:Q}
	@printf 'kpatch:osversion=%s\n' ${OSVERSION:Q}
	@printf 'kpatch:flags=%s\n' ${KPATCH_FLAGS:Q}
	@printf 'kpatch:stagedir=%s\n' ${STAGEDIR:Q}
	@printf 'kpatch:destdir=%s\n' ${DESTDIR:Q}
	@printf 'kpatch:kmoddir=%s\n' ${KMODDIR:Q}
	@printf 'kpatch:wrksrc=%s\n' ${BUILD_WRKSRC:Q}
END
)

kpatch_answer() {
	printf '%s\n' "$kpatch_answers" | sed -n "s/^kpatch:$1=//p"
}

kpatch_program=$(kpatch_answer program)
kpatch_files=$(kpatch_answer files)
kpatch_osversion=$(kpatch_answer wanted)
kpatch_flags=$(kpatch_answer flags)
kpatch_stagedir=$(kpatch_answer stagedir)
kpatch_wrksrc=$(kpatch_answer wrksrc)
: "${kpatch_wrksrc:?is empty: make did not answer as a ports tree does}"
: "${kpatch_program:=kpatch}"
: "${kpatch_files:=kqemu.ko}"
# A kernel file says its version itself: that of the tree would contradict it.
case " $kpatch_flags" in
*" --kernel"*) ;;
*) : "${kpatch_osversion:=$(kpatch_answer osversion)}" ;;
esac

# A tree without a stage installs at once: look where the module went.
kpatch_has_stage=$kpatch_stagedir
kpatch_kmoddir=$(kpatch_answer kmoddir)
: "${kpatch_stagedir:=$(kpatch_answer destdir)${kpatch_kmoddir:-/boot/modules}}"

# kpatch_step STEP: run one step (apply, verify, staged or packaged) over all modules.
# Where it fails the modules are taken away, so that nothing goes on with them, "make -k"
# included. The fragment for maintainers has steps of its own: then these do nothing.
kpatch_step() {
	[ -z "${KPATCH_FRAGMENT:-}" ] || return 0
	kpatch_code=0
	kpatch_now=$1
	# Flags are words of the shell, with its quotes, as in the recipe of a makefile.
	eval "set -- $kpatch_flags"
	# Files are a list of words.
	# shellcheck disable=SC2086
	"$kpatch_program" hook "$kpatch_now" --wrkdir="$WRKDIR" --wrksrc="$kpatch_wrksrc" \
	    --stagedir="$kpatch_stagedir" ${kpatch_osversion:+--osversion="$kpatch_osversion"} \
	    "$@" $kpatch_files || kpatch_code=$?
	[ "$kpatch_code" -eq 0 ] || kpatch_withdraw "$kpatch_now"
	return "$kpatch_code"
}

# kpatch_withdraw STEP: a refused module does not stay under its name. What was built is
# kept as NAME.refused. What was staged, or installed by this build, is removed: the
# kernel's tools find a module below /boot/modules under any name.
kpatch_withdraw() {
	for kpatch_file in $kpatch_files; do
		kpatch_file=${kpatch_file##*/}
		if [ "$kpatch_has_stage" ] || [ "$1" = staged ]; then
			find "$kpatch_stagedir" -type f -name "$kpatch_file" -exec rm -f {} \; \
			    -exec echo "kpatch: removed, because of this error: {}" \; 2>/dev/null || :
		fi
		find "$WRKDIR" -type f -name "$kpatch_file" -exec mv -f {} {}.refused \; \
		    -exec echo "kpatch: kept as {}.refused, which no later step takes" \; || :
	done
}
