/* LD_PRELOAD for crun 1.8 where CAP_SYS_RESOURCE is missing: it raises
 * RLIMIT_MEMLOCK for its cgroup device program and dies of EPERM. The limit does not
 * hold on kernels >= 5.11 (BPF memory is charged to the cgroup), so the call may as
 * well succeed without doing anything. Only bench/ uses this. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <sys/resource.h>

typedef int setrlimit_call (__rlimit_resource_t, const struct rlimit *);

static int
pass_on (const char *name, __rlimit_resource_t resource, const struct rlimit *limit)
{
  if (resource == RLIMIT_MEMLOCK)
    return 0;
  setrlimit_call *next = (setrlimit_call *)dlsym (RTLD_NEXT, name);
  return next (resource, limit);
}

int
setrlimit (__rlimit_resource_t resource, const struct rlimit *limit)
{
  return pass_on ("setrlimit", resource, limit);
}

int
setrlimit64 (__rlimit_resource_t resource, const struct rlimit64 *limit)
{
  return pass_on ("setrlimit64", resource, (const struct rlimit *)limit);
}
