// Running a kernel on the host. This comes after the kernels, because it needs their types.

typedef struct {
    void (*kernel)(const void *arguments);
    const void *arguments;
    i64 thread, groups;
} Job;

static void *work(void *given) {
    const Job *job = (const Job *)given;
    this_thread = job->thread;
    for (this_group = 0; this_group < job->groups; this_group++) {
        job->kernel(job->arguments);
        // The memory that a group shares is static here, so the next group must not begin before this one is done.
        barrier();
    }
    return 0;
}

void run(void (*kernel)(const void *arguments), const void *arguments, u32 groups) {
    pthread_t threads[THREADS];
    Job jobs[THREADS];
    expected = THREADS;
    for (int i = 0; i < THREADS; i++) {
        Job job = {kernel, arguments, i, groups};
        jobs[i] = job;
        pthread_create(&threads[i], 0, work, &jobs[i]);
    }
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], 0);
}
