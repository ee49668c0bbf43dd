//! Threads that are to work only when nobody else wants the processor.

/// Has the threads that this process has already, other than the calling one, give way to all others.
///
/// To be called before any thread of the server's own is started: then these are the allocator's, which
/// give memory back to the system, and the threads that they start do as they do. On a core that
/// they share with a shard they would otherwise take whole slices of the scheduler, milliseconds each.
pub fn yield_to_all() {
    let own = std::process::id() as i32;
    for tid in std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten() {
        let tid = tid.file_name().to_str().and_then(|name| name.parse::<i32>().ok());
        if let Some(tid) = tid.filter(|&tid| tid != own) {
            let param = libc::sched_param { sched_priority: 0 };
            // SAFETY: reads the parameter only. That a thread has gone, or that the system forbids it,
            // leaves things as they were.
            unsafe { libc::sched_setscheduler(tid, libc::SCHED_IDLE, &param) };
        }
    }
}
