/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Feeds what reads answers with mutations of good ones: fuzz_answer COUNT SEED.  Every
 * input lies at the end of memory of its own, so that a sanitizer sees a byte too many.
 */

#include "answer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Their lengths are with the NUL that ends a text in C. */
static const struct {
    size_t length;
    const char *text;
} SEEDS[] = {
#define SEED(text) {sizeof(text), text}
    SEED("1\0alice\0hunter2"),
    SEED("1\0alice@example\0pass"),
    SEED("1\0a\0b"),
    SEED("1\0\0"),
#undef SEED
};

static unsigned long long state;

static size_t below(size_t limit)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (size_t)(state % limit);
}

static size_t mutate(char *data)
{
    size_t seed = below(sizeof SEEDS / sizeof SEEDS[0]);
    size_t length = SEEDS[seed].length, rounds = below(6), i;

    memcpy(data, SEEDS[seed].text, length);
    while (rounds-- > 0) {
        switch (below(5)) {
        case 0:
            if (length > 0)
                data[below(length)] = (char)below(256);
            break;
        case 1:
            if (length > 0)
                data[below(length)] = '\0';
            break;
        case 2:
            length = below(length + 1);
            break;
        case 3:
            for (i = below(40); i > 0 && length < ANSWER_MAX; i--)
                data[length++] = (char)below(256);
            break;
        default:
            for (i = below(ANSWER_MAX + 8 - length); i > 0; i--)
                data[length++] = 'x';
            if (length > 0)
                data[length - 1] = '\0';
        }
    }
    return length;
}

static void check(const char *data, size_t length)
{
    const char *user, *password;
    size_t whole;

    if (!answer_read(data, length, &user, &password)) {
        if (user != NULL || password != NULL)
            abort();
        return;
    }
    whole = 2 + strlen(user) + 1 + strlen(password) + 1;
    if (length > ANSWER_MAX || whole != length || *user == '\0' || *password == '\0')
        abort();
    if (!is_same_user(user, user) || is_same_user(user, ""))
        if (user[0] != '@')
            abort();
}

static void check_request(const char *data, size_t length)
{
    char request[REQUEST_MAX];
    char *text = malloc(length + 1);
    size_t found;

    if (text == NULL)
        abort();
    memcpy(text, data, length);
    text[length] = '\0';
    found = request_write(request, "", text, text);
    if (found != 0 && found != 3 + 2 * (strlen(text) + 1))
        abort();
    if (found == 0 && 3 + 2 * (strlen(text) + 1) <= REQUEST_MAX)
        abort();
    if (token_is_well_formed(text) && strlen(text) != TOKEN_LENGTH)
        abort();
    free(text);
}

int main(int argc, char **argv)
{
    unsigned long count;

    if (argc != 3)
        return 2;
    count = strtoul(argv[1], NULL, 10);
    state = strtoull(argv[2], NULL, 10) * 2 + 1;
    while (count-- > 0) {
        char data[ANSWER_MAX + 64];
        size_t length = mutate(data);
        char *exact = malloc(length > 0 ? length : 1);

        if (exact == NULL)
            return 1;
        memcpy(exact, data, length);
        check(exact, length);
        check_request(exact, length);
        free(exact);
    }
    puts("nothing found");
    return 0;
}
