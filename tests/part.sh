#!/bin/sh
# Runs one part of the tests, says how long it took, and ends as it did: tests/part.sh NAME COMMAND...
#
# A line for each part is also added to the file that MESHMEND_TEST_TIMES names, if it names one.
set -eu
name=$1
shift
start=$(date +%s)
code=0
"$@" || code=$?
line=$(printf '%5d s  %s' "$(($(date +%s) - start))" "$name")
[ "$code" = 0 ] || line="$line (failed)"
echo "$line" >&2
[ -z "${MESHMEND_TEST_TIMES:-}" ] || echo "$line" >>"$MESHMEND_TEST_TIMES"
exit "$code"
