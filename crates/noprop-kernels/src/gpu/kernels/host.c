// As much of a GPU as the kernels need: groups run one after another, the threads of a group at once.

#define HOST
#include <math.h>
#include <pthread.h>

static _Thread_local long long this_thread, this_group;
#define thread() this_thread
#define group() this_group

static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t opened = PTHREAD_COND_INITIALIZER;
static int expected, waiting;
static unsigned rounds;

// Every thread waits until all have arrived.
static void barrier(void) {
    pthread_mutex_lock(&gate);
    unsigned now = rounds;
    if (++waiting == expected) {
        waiting = 0;
        rounds++;
        pthread_cond_broadcast(&opened);
    }
    while (now == rounds) pthread_cond_wait(&opened, &gate);
    pthread_mutex_unlock(&gate);
}
