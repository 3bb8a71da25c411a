%(complete_func)s() {
    local IFS=$'\n' word response completion type value
    word=${COMP_LINE:0:COMP_POINT}
    response=$(env COMP_LINE="$word" %(complete_var)s=bash_complete "$1")
    # Bash takes ":" and "=" for ends of words, and replaces what follows the last of them.
    word=${word##*[[:space:]]}
    word=${word%%"${word##*["$COMP_WORDBREAKS"]}"}
    COMPREPLY=()
    for completion in $response; do
        type=${completion%%%%,*} value=${completion#*,}
        case $type in
            dir) compopt -o dirnames ;;
            file) compopt -o default ;;
            plain) COMPREPLY+=("${value#"$word"}") ;;
        esac
    done
}
complete -o nosort -F %(complete_func)s %(prog_name)s
