"""The workloads of scripts/peers, of the table that everything takes them from."""

from suite.workloads import Workload, named


class Work(Workload):
    """A workload in which servers are put side by side."""

    @property
    def memory(self):
        """Whether idle connections are held and the server's memory is read: loadgen has no part in that."""
        return self.scenario == "idle"

    @property
    def figure(self):
        """The column of raw.csv that is compared."""
        return "bytes_each" if self.memory else "ns_each"

    @property
    def command(self):
        """The arguments of loadgen, but for the URL and the window; None where it has no part."""
        return None if self.memory else [self.scenario, *self.load()]


WORKLOADS = named("echo-1", "echo-100", "echo-1000", "echo-10000", "echo-depth16", "echo-1k-depth16", "echo-16k",
                  "echo-1m", "broadcast", "broadcast-burst16", "storm", "idle", kind=Work)
