//! Counters as plain numbers, and those of a ring.

/// A struct of counters, with their names.
macro_rules! counters {
    ($(#[$meta:meta])* pub struct $name:ident { $($(#[doc = $doc:literal])+ $field:ident,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct $name { $($(#[doc = $doc])+ pub $field: u64,)* }

        impl $name {
            /// Adds what another has counted.
            pub fn add(&mut self, other: &Self) {
                $(self.$field += other.$field;)*
            }

            /// The counters by name, in a fixed order.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($field), self.$field),)*].into_iter()
            }
        }
    };
}

pub(crate) use counters;

counters! {
    /// What the driver did. Counters of things that epoll does not have stay 0.
    pub struct RingCounters {
        /// System calls: `io_uring_enter`, or all that the epoll driver makes. On tokio-uring this
        /// is the least number: two for each time its runtime slept, and those of the driver
        /// itself.
        enters,
        /// Completions reaped, or events taken.
        completions,
        /// Sends settled inline.
        inline_sends,
        /// Inline sends that blocked or came up short.
        blocked_sends,
        /// Sends waited for by the kernel; all of them on tokio-uring.
        slow_sends,
        /// Slow sends that were to go without a copy.
        zero_copy_sends,
        /// Slow sends without a copy that the kernel copied after all.
        zero_copy_copied,
        /// Shards that gave up sending without a copy, because all was copied.
        zero_copy_off,
        /// Times the buffer ring was empty when bytes arrived, or no registered buffer was left.
        buffers_exhausted,
        /// Receives armed, or reads made.
        receives_armed,
        /// Receives cancelled to change their kind.
        receives_cancelled,
        /// Completions for connections that were gone.
        stale_completions,
        /// Times the completion queue overflowed.
        overflows,
        /// Accepts that failed, out of files for example.
        accept_failures,
        /// Receive buffers that are neither offered to the kernel nor free: a gauge.
        buffers_held,
        /// Operations, other than accepts, that own memory until they complete: a gauge.
        operations_in_flight,
    }
}
