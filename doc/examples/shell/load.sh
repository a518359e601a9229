#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# An extension in shell: "read" returns the load of the guest (doc/stdio.rst).
#
# [load]
# command = /usr/local/libexec/load.sh
set -u

printf '%s' '{"type": "hello", "protocol": 1, "version": "1.0",'
printf '%s' ' "doc": "Knows the load of the guest.",'
printf '%s' ' "commands": {"read": {"mutates": false, "timeout": 5,'
printf '%s' ' "doc": "Return the load of the last minute.",'
printf '%s\n' ' "returns": {"dict": "float"}}}}'

# The agent writes one request a line, with its keys in this order:
# {"type":"call","id":3,...
while IFS= read -r line; do
    type=${line#*\"type\":\"}
    type=${type%%\"*}
    id=${line#*\"id\":}
    id=${id%%[,\}]*}
    result=null
    case $type in
        call)
            read -r one _ </proc/loadavg
            result="{\"load\": $one}"
            ;;
        cancel | result | error) continue ;;
    esac
    printf '{"type": "result", "id": %s, "result": %s}\n' "$id" "$result"
    [ "$type" != stop ] || exit 0
done
