/* SPDX-License-Identifier: Apache-2.0 */
/* The two packets between pam_guestagent.so and the extension sso: no I/O. */

#ifndef GUESTAGENT_ANSWER_H
#define GUESTAGENT_ANSWER_H

#include <stddef.h>

enum {
    /* The longest packets, as in guestagent_sso/offer.py. */
    REQUEST_MAX = 512,
    ANSWER_MAX = 1024,
    /* The letters of a token. */
    TOKEN_LENGTH = 43
};

/* Whether text is of the form that tokens have. */
int token_is_well_formed(const char *text);

/*
 * Write a request; token and user may be empty.  Return its length, or 0: it does not
 * fit.
 */
size_t request_write(char request[REQUEST_MAX], const char *token, const char *seat,
                     const char *user);

/*
 * Find user and password in an answer of this length.  Return 1, or 0: it is none.
 * Both point into the answer.
 */
int answer_read(const char *answer, size_t length, const char **user,
                const char **password);

/*
 * Whether the user of an answer is the one that a greeter has named: by the whole name,
 * or by what stands before the @ of a domain.
 */
int is_same_user(const char *answered, const char *named);

#endif
