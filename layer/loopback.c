/* Address lookup for ffmpeg that accepts only numeric loopback addresses: 127.0.0.0/8 and ::1.
 *
 * build.sh compiles libavformat with -Dgetaddrinfo=glimpse_getaddrinfo. The binary therefore contains no resolver: host
 * names are never looked up, no library is loaded at run time for it (which a static glibc would do), and no playlist,
 * redirect or header can make it open a socket to another machine. Ports must be numeric too.
 *
 * The returned list is one allocation, as glimpse_freeaddrinfo below expects. */

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct answer {
    struct addrinfo info;
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } address;
};

static int port_number(const char *service, in_port_t *port)
{
    char *end;
    unsigned long number;

    if (!service) {
        *port = 0;
        return 1;
    }
    if (*service < '0' || *service > '9')
        return 0;
    number = strtoul(service, &end, 10);
    *port = htons((in_port_t)number);
    return *end == '\0' && number <= 65535;
}

int glimpse_getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **list)
{
    int family = hints ? hints->ai_family : AF_UNSPEC;
    struct answer *answer;
    struct in_addr v4;
    struct in6_addr v6;
    in_port_t port;

    if (!node)
        node = "127.0.0.1";
    if (!port_number(service, &port))
        return EAI_SERVICE;
    answer = calloc(1, sizeof(*answer));
    if (!answer)
        return EAI_MEMORY;
    if (family != AF_INET6 && inet_pton(AF_INET, node, &v4) == 1 && ntohl(v4.s_addr) >> 24 == 127) {
        answer->info.ai_family = AF_INET;
        answer->info.ai_addrlen = sizeof(answer->address.v4);
        answer->address.v4.sin_family = AF_INET;
        answer->address.v4.sin_port = port;
        answer->address.v4.sin_addr = v4;
    } else if (family != AF_INET && inet_pton(AF_INET6, node, &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6)) {
        answer->info.ai_family = AF_INET6;
        answer->info.ai_addrlen = sizeof(answer->address.v6);
        answer->address.v6.sin6_family = AF_INET6;
        answer->address.v6.sin6_port = port;
        answer->address.v6.sin6_addr = v6;
    } else {
        free(answer);
        return EAI_NONAME;
    }
    answer->info.ai_socktype = hints && hints->ai_socktype ? hints->ai_socktype : SOCK_STREAM;
    answer->info.ai_protocol = IPPROTO_TCP;
    answer->info.ai_addr = &answer->address.any;
    *list = &answer->info;
    return 0;
}

void glimpse_freeaddrinfo(struct addrinfo *list)
{
    free(list);
}

int glimpse_getnameinfo(const struct sockaddr *address, socklen_t length, char *host, socklen_t host_length,
                        char *service, socklen_t service_length, int flags)
{
    (void)length;
    (void)flags;
    if (host && host_length) {
        const void *number = address->sa_family == AF_INET6
                                 ? (const void *)&((const struct sockaddr_in6 *)address)->sin6_addr
                                 : (const void *)&((const struct sockaddr_in *)address)->sin_addr;
        if (!inet_ntop(address->sa_family, number, host, host_length))
            return EAI_OVERFLOW;
    }
    if (service && service_length) {
        /* The port has the same offset in both structures. */
        in_port_t port = ((const struct sockaddr_in *)address)->sin_port;
        snprintf(service, service_length, "%u", (unsigned)ntohs(port));
    }
    return 0;
}
