# SPDX-License-Identifier: Apache-2.0
# bash completion of microvm-runtime: commands and options from its help, ids from what runs.
_microvm_runtime() {
	local cur=${COMP_WORDS[COMP_CWORD]} program=${COMP_WORDS[0]} command='' word
	for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
		case $word in
		-*) ;;
		*) if [[ -z $command && " $("$program" --help 2>/dev/null | sed -n 's/^  \([a-z]*\) .*/\1/p' | xargs) " == *" $word "* ]]; then command=$word; fi ;;
		esac
	done
	if [[ $cur == -* ]]; then
		mapfile -t COMPREPLY < <(compgen -W "$("$program" ${command:+"$command"} --help 2>/dev/null | sed -n 's/.*\(--[a-z-]*\) .*/\1/p')" -- "$cur")
	elif [ -z "$command" ]; then
		mapfile -t COMPREPLY < <(compgen -W "$("$program" --help 2>/dev/null | sed -n 's/^  \([a-z]*\) .*/\1/p')" -- "$cur")
	else
		mapfile -t COMPREPLY < <(compgen -W "$("$program" list -q 2>/dev/null)" -- "$cur")
	fi
}
complete -o default -F _microvm_runtime microvm-runtime
