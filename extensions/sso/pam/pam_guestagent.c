/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Gives the PAM stack of a greeter the user and the password that the guest agent's
 * extension sso holds for it, for the modules below to check; doc/sso.rst.
 *
 * Arguments: without_token (ask for none), socket=PATH, uid=NUMBER (who has the other
 * end of the socket; root unless given).
 */

#include "answer.h"

#include <errno.h>
#include <poll.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#define PAM_SM_AUTH
#include <security/pam_ext.h>
#include <security/pam_modules.h>

#ifndef SOCKET_PATH
#define SOCKET_PATH "/run/guestagent-sso/credentials"
#endif
#define EXPORTED __attribute__((visibility("default")))
#define PROMPT "Token?"
#define DEFAULT_SEAT "seat0"

/* Milliseconds for the whole of a question and its answer. */
enum { TIME_MAX = 2000 };

struct options {
    const char *path;
    uid_t uid;
    int without_token;
};

static int read_options(pam_handle_t *pamh, int argc, const char **argv,
                        struct options *options)
{
    int i;

    *options = (struct options){.path = SOCKET_PATH, .uid = 0, .without_token = 0};
    for (i = 0; i < argc; i++) {
        char *end = NULL;

        if (strcmp(argv[i], "without_token") == 0) {
            options->without_token = 1;
        } else if (strncmp(argv[i], "socket=", 7) == 0) {
            options->path = argv[i] + 7;
        } else if (strncmp(argv[i], "uid=", 4) == 0 && argv[i][4] != '\0') {
            errno = 0;
            options->uid = (uid_t)strtoul(argv[i] + 4, &end, 10);
            if (errno != 0 || *end != '\0')
                goto wrong;
        } else {
            goto wrong;
        }
        continue;
    wrong:
        pam_syslog(pamh, LOG_ERR, "wrong argument: %s", argv[i]);
        return 0;
    }
    return 1;
}

static long now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000 + time.tv_nsec / 1000000;
}

/* Connect to a socket of the right owner; -1: there is none. */
static int connect_to(pam_handle_t *pamh, const struct options *options)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct ucred peer;
    socklen_t size = sizeof peer;
    int fd;

    if (strlen(options->path) >= sizeof address.sun_path)
        return -1;
    strcpy(address.sun_path, options->path);
    fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -1;
    if (connect(fd, (const struct sockaddr *)&address, sizeof address) != 0)
        goto fail; /* nothing is offered */
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0 ||
        size != sizeof peer || peer.uid != options->uid) {
        pam_syslog(pamh, LOG_ERR, "%s is not of the guest agent", options->path);
        goto fail;
    }
    return fd;
fail:
    close(fd);
    return -1;
}

/* Receive one packet before the time is over; its length, 0 at the end, or -1. */
static ssize_t receive(int fd, char *buffer, size_t size, long until)
{
    struct pollfd waiting = {.fd = fd, .events = POLLIN};

    for (;;) {
        long left = until - now();
        ssize_t length;

        if (left <= 0 || poll(&waiting, 1, (int)left) == 0)
            return -1;
        /* With MSG_TRUNC it is the length of the packet, even if it does not fit. */
        length = recv(fd, buffer, size, MSG_TRUNC);
        if (length >= 0)
            return length;
        if (errno != EINTR && errno != EAGAIN)
            return -1;
    }
}

/* Send the request; return the length of the answer, or 0: there is none. */
static size_t ask(pam_handle_t *pamh, const struct options *options,
                  const char *request, size_t length, char answer[ANSWER_MAX])
{
    long until = now() + TIME_MAX;
    int fd = connect_to(pamh, options);
    size_t found = 0;
    char more;

    if (fd < 0)
        return 0;
    if (send(fd, request, length, MSG_NOSIGNAL) == (ssize_t)length) {
        ssize_t got = receive(fd, answer, ANSWER_MAX, until);

        /* One answer, that fits, and then the end. */
        if (got > 0 && got <= ANSWER_MAX && receive(fd, &more, 1, until) == 0)
            found = (size_t)got;
    }
    close(fd);
    return found;
}

/* The name of the local user, where it is known without its domain. */
static void drop_domain(char *user)
{
    char *at = strchr(user, '@');

    if (at == NULL || at == user)
        return;
    *at = '\0';
    if (getpwnam(user) == NULL)
        *at = '@';
}

static int give(pam_handle_t *pamh, const char *named, const char *answered,
                const char *password)
{
    char user[ANSWER_MAX];
    int result;

    if (named != NULL && !is_same_user(answered, named)) {
        pam_syslog(pamh, LOG_WARNING, "the credentials are another user's");
        return PAM_CRED_UNAVAIL;
    }
    if (named == NULL) {
        strcpy(user, answered); /* no longer than the answer */
        drop_domain(user);
        result = pam_set_item(pamh, PAM_USER, user);
        if (result != PAM_SUCCESS)
            return result;
    }
    return pam_set_item(pamh, PAM_AUTHTOK, password);
}

static const char *find_seat(pam_handle_t *pamh)
{
    const char *seat = pam_getenv(pamh, "XDG_SEAT");

    if (seat == NULL || *seat == '\0')
        seat = getenv("XDG_SEAT");
    return seat != NULL && *seat != '\0' ? seat : DEFAULT_SEAT;
}

/* Ask the greeter for the token; "": there is none to ask for.  NULL: it has none. */
static char *find_token(pam_handle_t *pamh, const struct options *options)
{
    char *token = NULL;

    if (options->without_token)
        return strdup("");
    if (pam_prompt(pamh, PAM_PROMPT_ECHO_OFF, &token, PROMPT) != PAM_SUCCESS)
        return NULL;
    if (token != NULL && !token_is_well_formed(token)) {
        explicit_bzero(token, strlen(token));
        free(token);
        token = NULL;
    }
    return token;
}

EXPORTED int pam_sm_authenticate(pam_handle_t *pamh, int flags, int argc,
                                 const char **argv)
{
    struct options options;
    char request[REQUEST_MAX], answer[ANSWER_MAX];
    const char *named = NULL, *user, *password;
    char *token;
    size_t length;
    int result = PAM_CRED_UNAVAIL;

    (void)flags;
    if (!read_options(pamh, argc, argv, &options))
        return PAM_SERVICE_ERR;
    if (pam_get_item(pamh, PAM_USER, (const void **)&named) != PAM_SUCCESS)
        return PAM_SERVICE_ERR;
    if (named != NULL && *named == '\0')
        named = NULL;
    token = find_token(pamh, &options);
    if (token == NULL)
        return PAM_AUTH_ERR;
    length = request_write(request, token, find_seat(pamh), named ? named : "");
    explicit_bzero(token, strlen(token));
    free(token);
    if (length > 0) {
        length = ask(pamh, &options, request, length, answer);
        if (length > 0 && answer_read(answer, length, &user, &password))
            result = give(pamh, named, user, password);
    }
    explicit_bzero(request, sizeof request);
    explicit_bzero(answer, sizeof answer);
    return result;
}

EXPORTED int pam_sm_setcred(pam_handle_t *pamh, int flags, int argc, const char **argv)
{
    (void)pamh;
    (void)flags;
    (void)argc;
    (void)argv;
    return PAM_SUCCESS;
}
