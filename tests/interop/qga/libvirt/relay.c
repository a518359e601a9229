/* SPDX-License-Identifier: Apache-2.0
 *
 * The init of a guest that is nothing but a wire: what comes in at the port of the
 * guest agent goes out at the other port, and back.  So the agent that libvirt speaks
 * to runs on the host, where a test can see it.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static const char *const MODULES[] = {
    "virtio_ring", "virtio", "virtio_pci_legacy_dev", "virtio_pci_modern_dev",
    "virtio_pci", "virtio_console", NULL,
};

static void load(const char *name)
{
    char path[128];
    snprintf(path, sizeof path, "/modules/%s.ko", name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0 && syscall(SYS_finit_module, fd, "", 0) && errno != EEXIST)
        perror(name);
    if (fd >= 0)
        close(fd);
}

/* Return the open port of this name, or -1. */
static int find(const char *wanted)
{
    DIR *ports = opendir("/sys/class/virtio-ports");
    struct dirent *entry;
    int found = -1;
    while (ports && found < 0 && (entry = readdir(ports))) {
        char path[512], name[128] = "";
        snprintf(path, sizeof path, "/sys/class/virtio-ports/%s/name", entry->d_name);
        int fd = open(path, O_RDONLY);
        ssize_t size = fd < 0 ? -1 : read(fd, name, sizeof name - 1);
        if (fd >= 0)
            close(fd);
        if (size > 0 && !strncmp(name, wanted, strlen(wanted))) {
            snprintf(path, sizeof path, "/dev/%s", entry->d_name);
            found = open(path, O_RDWR | O_NONBLOCK);
        }
    }
    if (ports)
        closedir(ports);
    return found;
}

/* Copy what there is; a side whose host end is closed reads nothing. */
static int copy(int from, int to)
{
    static char buffer[65536];
    ssize_t size = read(from, buffer, sizeof buffer);
    for (ssize_t done = 0; done < size;) {
        ssize_t count = write(to, buffer + done, size - done);
        if (count > 0)
            done += count;
        else
            usleep(1000);
    }
    return size > 0;
}

int main(void)
{
    mkdir("/dev", 0755), mkdir("/sys", 0755), mkdir("/proc", 0755);
    mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
    mount("sysfs", "/sys", "sysfs", 0, NULL);
    for (int i = 0; MODULES[i]; i++)
        load(MODULES[i]);
    int agent = -1, wire = -1;
    while (agent < 0 || wire < 0) {
        if (agent < 0)
            agent = find("org.qemu.guest_agent.0");
        if (wire < 0)
            wire = find("wire.0");
        usleep(10000);
    }
    puts("relay: ready");
    for (;;)
        if (!(copy(agent, wire) | copy(wire, agent)))
            usleep(500);
}
