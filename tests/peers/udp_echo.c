/* udp_echo.c: `udp_echo PORT` answers every datagram, `udp_echo ADDRESS PORT` asks and waits two
 * seconds; busybox has no UDP.  Static, for a container without a C library. */

#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

static int
answer (const char *port)
{
  struct sockaddr_in6 own
      = { .sin6_family = AF_INET6, .sin6_port = htons ((unsigned short)atoi (port)) };
  int fd = socket (AF_INET6, SOCK_DGRAM, 0);
  if (bind (fd, (struct sockaddr *)&own, sizeof own) < 0)
    return 1;
  for (;;)
    {
      char data[512];
      struct sockaddr_in6 other;
      socklen_t size = sizeof other;
      ssize_t n = recvfrom (fd, data, sizeof data, 0, (struct sockaddr *)&other, &size);
      if (n >= 0)
        sendto (fd, data, (size_t)n, 0, (struct sockaddr *)&other, size);
    }
}

static int
ask (const char *address, const char *port)
{
  unsigned char raw[16];
  struct sockaddr_in four
      = { .sin_family = AF_INET, .sin_port = htons ((unsigned short)atoi (port)) };
  struct sockaddr_in6 six
      = { .sin6_family = AF_INET6, .sin6_port = htons ((unsigned short)atoi (port)) };
  int is_six = inet_pton (AF_INET6, address, raw) == 1;
  struct timeval patience = { .tv_sec = 2 };
  char data[8] = "";
  int fd = socket (is_six ? AF_INET6 : AF_INET, SOCK_DGRAM, 0);
  inet_pton (AF_INET6, address, &six.sin6_addr);
  inet_pton (AF_INET, address, &four.sin_addr);
  setsockopt (fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  if (connect (fd, is_six ? (void *)&six : (void *)&four, is_six ? sizeof six : sizeof four) < 0
      || send (fd, "echo", 4, 0) != 4 || recv (fd, data, sizeof data, 0) != 4)
    return 1;
  return strcmp (data, "echo") != 0;
}

int
main (int argc, char **argv)
{
  return argc == 3 ? ask (argv[1], argv[2]) : argc == 2 ? answer (argv[1]) : 2;
}
