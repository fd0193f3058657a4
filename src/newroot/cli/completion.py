"""``newroot completion bash|zsh|fish``: what a shell needs to complete newroot's words.

The scripts ask ``newroot __complete`` (complete.py), so they are the same for every version.
"""

from __future__ import annotations

from newroot.cli.flags import Positional, Verb
from newroot.cli.verbs import VERBS
from newroot.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from newroot.cli.flags import Parsed
    from newroot.cli.verbs import Context

# Words are taken from the line itself, for bash has cut them at every colon; and what stands before
# the last colon or equals sign is cut off the answers, for bash replaces only what comes after.
_BASH = r"""# bash completion of newroot: newroot completion bash
_newroot()
{
    local line=${COMP_LINE:0:COMP_POINT} current answer rest= kept
    local -a words
    read -ra words <<< "$line"
    if [[ $line == *[[:space:]] ]]; then words+=(""); fi
    current=${words[-1]}
    kept=${current%"${current##*[:=]}"}
    COMPREPLY=()
    while IFS= read -r answer; do
        if [[ $answer == :* ]]; then rest=${answer#:}; break; fi
        answer=${answer%%$'\t'*}
        COMPREPLY+=("${answer#"$kept"}")
    done < <("${words[0]}" __complete "${words[@]:1}" 2>/dev/null)
    if [[ $rest == *nospace* ]]; then compopt -o nospace; fi
    if [[ $rest == *file* ]]; then
        compopt -o filenames
        while IFS= read -r answer; do COMPREPLY+=("$answer"); done \
            < <(compgen -f -- "${current#"$kept"}")
    elif [[ $rest == *directory* ]]; then
        compopt -o filenames
        while IFS= read -r answer; do COMPREPLY+=("$answer"); done \
            < <(compgen -d -- "${current#"$kept"}")
    fi
}
complete -F _newroot newroot
"""

_ZSH = r"""#compdef newroot
# zsh completion of newroot: newroot completion zsh
_newroot()
{
    local answer rest value meaning
    local -a values shown spaced
    for answer in "${(@f)$("${words[1]}" __complete "${(@)words[2,CURRENT]}" 2>/dev/null)}"; do
        if [[ $answer == :* ]]; then rest=${answer#:}; break; fi
        value=${answer%%$'\t'*} meaning=${answer#*$'\t'}
        values+=("$value")
        shown+=("$value${meaning:+  -- $meaning}")
    done
    [[ $rest == *nospace* ]] && spaced=(-S '')
    (( $#values )) && compadd $spaced -l -d shown -a values
    case $rest in
        *file*) compset -P '*='; compset -P '*:'; _files ;;
        *directory*) compset -P '*='; _files -/ ;;
    esac
}
if [[ $funcstack[1] == _newroot ]]; then _newroot "$@"; else compdef _newroot newroot; fi
"""

_FISH = r"""# fish completion of newroot: newroot completion fish
function __newroot_complete
    set -l words (commandline -opc) (commandline -ct)
    set -l answers (command $words[1] __complete $words[2..-1] 2>/dev/null)
    set -l current (commandline -ct)
    for answer in $answers
        switch $answer
            case ':*file*'
                __fish_complete_path (string replace -r '^.*[:=]' '' -- $current)
            case ':*directory*'
                __fish_complete_directories (string replace -r '^.*[:=]' '' -- $current)
            case ':*'
            case '*'
                echo $answer
        end
    end
end
complete -c newroot -f -a '(__newroot_complete)'
"""

SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}


def _completion(parsed: Parsed, context: Context) -> int:
    shell = parsed.positionals[0]
    if shell not in SCRIPTS:
        raise UsageError(f"no completion for {shell}", hint="bash, zsh or fish")
    print(SCRIPTS[shell], end="")
    return 0


COMPLETION = Verb(
    name="completion",
    summary=VERBS["completion"][1],
    run=_completion,
    positionals=(Positional(name="bash|zsh|fish", completes="shell"),),
    details=(
        "Verbs, options, and the names of containers, images, volumes and networks. An installed "
        "newroot has it where the shells look, if its prefix is theirs."
    ),
    examples=(
        ("in this bash", "source <(newroot completion bash)"),
        ("in each zsh", "newroot completion zsh > ~/.zfunc/_newroot"),
        ("in each fish", "newroot completion fish > ~/.config/fish/completions/newroot.fish"),
    ),
)
