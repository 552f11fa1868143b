// Running a kernel on the host; after the kernels, whose types it needs.

typedef struct {
    void (*kernel)(const Args a);
    const Args *args;
    i64 thread, groups;
} Job;

static void *work(void *given) {
    const Job *job = (const Job *)given;
    this_thread = job->thread;
    for (this_group = 0; this_group < job->groups; this_group++) {
        job->kernel(*job->args);
        // What a group shares is static here: the next one may not begin before this one is done.
        barrier();
    }
    return 0;
}

void run(void (*kernel)(const Args a), const Args *args, u32 groups) {
    pthread_t threads[THREADS];
    Job jobs[THREADS];
    expected = THREADS;
    for (int i = 0; i < THREADS; i++) {
        Job job = {kernel, args, i, groups};
        jobs[i] = job;
        pthread_create(&threads[i], 0, work, &jobs[i]);
    }
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], 0);
}
