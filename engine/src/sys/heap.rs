//! What the allocator keeps of memory that is free.

/// Has the allocator of the C library give free memory back to the system. Left to itself it keeps what
/// lies between pieces that are in use, however much that is. Another allocator is not touched; nor is
/// another C library, where this does nothing.
pub(crate) fn release_free_memory() {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: it takes no pointer and may be called on any thread at any time; memory in use is left
        // as it is.
        unsafe { libc::malloc_trim(0) };
    }
}
