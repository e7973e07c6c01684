#!/bin/sh
# Runs a test program under valgrind; scripts run as they are.
case $1 in
    *python*) exec "$@" ;;
esac
exec valgrind --quiet --error-exitcode=99 --leak-check=full --trace-children=no "$@"
