/* SPDX-License-Identifier: Apache-2.0
 *
 * An extension in C: "add" counts, and reports the count (doc/stdio.rst).
 *
 *     cc -o counter counter.c
 *
 *     [counter]
 *     command = /usr/local/libexec/counter
 *
 * The agent writes one request a line, without white space and with "type" and "id"
 * first, so a program that asks little can do without a parser for JSON.
 */

#define _POSIX_C_SOURCE 200809L

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char hello[] =
    "{\"type\": \"hello\", \"protocol\": 1, \"version\": \"1.0\","
    " \"doc\": \"Counts.\","
    " \"commands\": {\"add\": {\"mutates\": true,"
    " \"doc\": \"Add to the count and return it.\","
    " \"arguments\": [{\"name\": \"number\", \"type\": \"int\", \"default\": 1}],"
    " \"returns\": \"int\"}}}\n";

/* Return what follows a key in a line, or NULL. */
static const char *value(const char *line, const char *key)
{
    const char *found = strstr(line, key);

    return found == NULL ? NULL : found + strlen(key);
}

static int is(const char *line, const char *type)
{
    const char *found = value(line, "\"type\":\"");

    return found != NULL && strncmp(found, type, strlen(type)) == 0 &&
           found[strlen(type)] == '"';
}

int main(void)
{
    char *line = NULL;
    size_t size = 0;
    long count = 0;

    setvbuf(stdout, NULL, _IOLBF, 0);
    fputs(hello, stdout);
    while (getline(&line, &size, stdin) > 0) {
        const char *found = value(line, "\"id\":");
        long id = found == NULL ? 0 : strtol(found, NULL, 10);

        if (is(line, "cancel") || is(line, "result") || is(line, "error"))
            continue;
        if (is(line, "call")) {
            found = value(line, "\"number\":");
            count += found == NULL ? 1 : strtol(found, NULL, 10);
            printf("{\"type\": \"facts\", \"facts\": {\"count\": %ld}}\n", count);
            printf("{\"type\": \"result\", \"id\": %ld, \"result\": %ld}\n", id, count);
            continue;
        }
        printf("{\"type\": \"result\", \"id\": %ld, \"result\": null}\n", id);
        if (is(line, "stop"))
            break;
    }
    free(line);
    return 0;
}
