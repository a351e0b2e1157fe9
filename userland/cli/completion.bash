# SPDX-License-Identifier: Apache-2.0
# bash completion of microvm: the program knows its words itself.
_microvm() {
	local word
	COMPREPLY=()
	# Colons are part of our words (oci:DIR:TAG), not bash's.
	if declare -F _get_comp_words_by_ref >/dev/null; then
		local cur words cword
		_get_comp_words_by_ref -n : cur words cword
	else
		local cur=${COMP_WORDS[COMP_CWORD]} words=("${COMP_WORDS[@]}") cword=$COMP_CWORD
	fi
	while IFS= read -r word; do
		COMPREPLY+=("$word")
	done < <("${words[0]}" __complete "${words[@]:1:cword}" 2>/dev/null)
	if declare -F __ltrim_colon_completions >/dev/null; then __ltrim_colon_completions "$cur"; fi
}
complete -o default -F _microvm microvm
