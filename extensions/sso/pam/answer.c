/* SPDX-License-Identifier: Apache-2.0 */
#include "answer.h"

#include <string.h>

static const char VERSION = '1';

int token_is_well_formed(const char *text)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                  "0123456789-_";
    size_t length = strnlen(text, TOKEN_LENGTH + 1);

    return length == TOKEN_LENGTH && strspn(text, letters) == length;
}

/* Append text with its NUL, unless there is no room; 0 stays 0. */
static size_t append(char request[REQUEST_MAX], size_t at, const char *text)
{
    size_t length = strnlen(text, REQUEST_MAX);

    if (at == 0 || length >= REQUEST_MAX - at)
        return 0;
    memcpy(request + at, text, length);
    request[at + length] = '\0';
    return at + length + 1;
}

size_t request_write(char request[REQUEST_MAX], const char *token, const char *seat,
                     const char *user)
{
    request[0] = VERSION;
    request[1] = '\0';
    return append(request, append(request, append(request, 2, token), seat), user);
}

/* Return the end of the text that begins at 'at', or NULL: it has none. */
static const char *end_of(const char *answer, size_t length, size_t at)
{
    return at < length ? memchr(answer + at, '\0', length - at) : NULL;
}

int answer_read(const char *answer, size_t length, const char **user,
                const char **password)
{
    const char *end;

    *user = *password = NULL;
    if (length < 4 || length > ANSWER_MAX || answer[0] != VERSION || answer[1] != '\0')
        return 0;
    end = end_of(answer, length, 2);
    if (end == NULL || end == answer + 2)
        return 0;
    *user = answer + 2;
    *password = end + 1;
    end = end_of(answer, length, (size_t)(*password - answer));
    /* It is the last NUL, and no password is not a password. */
    if (end == NULL || end != answer + length - 1 || end == *password) {
        *user = *password = NULL;
        return 0;
    }
    return 1;
}

int is_same_user(const char *answered, const char *named)
{
    const char *at = strchr(answered, '@');

    if (strcmp(answered, named) == 0)
        return 1;
    return at != NULL && strlen(named) == (size_t)(at - answered) &&
           strncmp(answered, named, (size_t)(at - answered)) == 0;
}
