/* A plugin of QEMU that counts where a guest's instructions go; scripts/kernels compiles and loads it.
 *
 * Counts by block of code as QEMU translates it: user code all together, kernel code by the address of
 * the block, and rounds of repeated string instructions apart, since QEMU makes each round a block of
 * its own. Whenever the guest comes to the instruction at `mark` (the address of a system call that
 * nothing else in the guest makes), all counts are written out and start again:
 *
 *     mark 7
 *     user 123456
 *     rep 420
 *     ffffffff81a01000 1234
 *
 * Arguments: out=FILE, mark=ADDRESS (hexadecimal).
 *
 * Distributions ship QEMU with its plugin interface but without the header, so that the few functions
 * called are declared here, as the interface has them. API is its version: 1 up to QEMU 8.1, 2 in 8.2
 * and 9.0; from 3 on (9.1) the bytes of an instruction are asked for in another way.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifndef API
#error "the version of the plugin interface is not given: -DAPI=N"
#endif

typedef uint64_t plugin_id;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
struct qemu_plugin_info;

__attribute__((visibility("default"))) int qemu_plugin_version = API;

void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, void (*)(plugin_id, struct qemu_plugin_tb *));
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *, void (*)(unsigned, void *), int flags,
                                          void *);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *, void (*)(unsigned, void *),
                                            int flags, void *);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *);
size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *);
#if API < 3
const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *);
#else
size_t qemu_plugin_insn_data(const struct qemu_plugin_insn *, void *, size_t);
#endif

/* The callbacks look at no register. */
enum { NO_REGISTERS = 0 };
/* The upper half of the addresses is the kernel's. */
static const uint64_t KERNEL = 1ULL << 63;

/* How many instructions were run in blocks of one length that begin at one address. Never freed: the
 * translated code points at it. */
struct count {
    uint64_t address, instructions, executed;
    struct count *next;
};

enum { BUCKETS = 1 << 16 };
static struct count *buckets[BUCKETS];
static struct count user, repeated;
static FILE *out;
static uint64_t mark;
static unsigned marks;

static struct count *count_of(uint64_t address, uint64_t instructions) {
    struct count **bucket = &buckets[(address * 0x9e3779b97f4a7c15ULL) >> 48];
    for (struct count *found = *bucket; found; found = found->next)
        if (found->address == address && found->instructions == instructions)
            return found;
    struct count *made = calloc(1, sizeof *made);
    if (!made) {
        fprintf(stderr, "counter: no memory\n");
        exit(1);
    }
    made->address = address;
    made->instructions = instructions;
    made->next = *bucket;
    return *bucket = made;
}

/* One CPU: nobody else counts at the same time. */
static void on_kernel_block(unsigned cpu, void *data) {
    (void)cpu;
    struct count *count = data;
    count->executed += count->instructions;
}

static void on_user_block(unsigned cpu, void *instructions) {
    (void)cpu;
    user.executed += (uintptr_t)instructions;
}

static void on_mark(unsigned cpu, void *data) {
    (void)cpu;
    (void)data;
    fprintf(out, "mark %u\nuser %llu\nrep %llu\n", marks++, (unsigned long long)user.executed,
            (unsigned long long)repeated.executed);
    user.executed = repeated.executed = 0;
    for (size_t bucket = 0; bucket < BUCKETS; bucket++)
        for (struct count *count = buckets[bucket]; count; count = count->next) {
            if (count->executed)
                fprintf(out, "%llx %llu\n", (unsigned long long)count->address,
                        (unsigned long long)count->executed);
            count->executed = 0;
        }
    fflush(out);
}

/* Whether an instruction is ins, outs, movs, cmps, stos, lods or scas with a repeat prefix. */
static bool repeats(const struct qemu_plugin_insn *instruction) {
    unsigned char bytes[4] = {0};
    size_t size = qemu_plugin_insn_size(instruction);
    if (size < 2 || size > sizeof bytes)
        return false;
#if API < 3
    memcpy(bytes, qemu_plugin_insn_data(instruction), size);
#else
    if (qemu_plugin_insn_data(instruction, bytes, size) != size)
        return false;
#endif
    if (bytes[0] != 0xf2 && bytes[0] != 0xf3)
        return false;
    /* A REX prefix, 0x40 to 0x4f, may come between. */
    unsigned char code = (bytes[1] & 0xf0) == 0x40 ? bytes[2] : bytes[1];
    return (code >= 0x6c && code <= 0x6f) || (code >= 0xa4 && code <= 0xa7)
        || (code >= 0xaa && code <= 0xaf);
}

static void on_translation(plugin_id id, struct qemu_plugin_tb *block) {
    (void)id;
    size_t instructions = qemu_plugin_tb_n_insns(block);
    uint64_t address = qemu_plugin_tb_vaddr(block);
    for (size_t index = 0; index < instructions; index++) {
        struct qemu_plugin_insn *instruction = qemu_plugin_tb_get_insn(block, index);
        if (qemu_plugin_insn_vaddr(instruction) == mark)
            qemu_plugin_register_vcpu_insn_exec_cb(instruction, on_mark, NO_REGISTERS, NULL);
    }
    /* All rounds but the first are blocks of this one instruction. */
    if (instructions == 1 && repeats(qemu_plugin_tb_get_insn(block, 0))) {
        struct count *rounds = &repeated;
        rounds->instructions = 1;
        qemu_plugin_register_vcpu_tb_exec_cb(block, on_kernel_block, NO_REGISTERS, rounds);
    } else if (address & KERNEL) {
        qemu_plugin_register_vcpu_tb_exec_cb(block, on_kernel_block, NO_REGISTERS,
                                             count_of(address, instructions));
    } else {
        qemu_plugin_register_vcpu_tb_exec_cb(block, on_user_block, NO_REGISTERS,
                                             (void *)(uintptr_t)instructions);
    }
}

__attribute__((visibility("default"))) int qemu_plugin_install(plugin_id id,
                                                               const struct qemu_plugin_info *info,
                                                               int argc, char **argv) {
    (void)info;
    for (int index = 0; index < argc; index++) {
        if (!strncmp(argv[index], "out=", 4))
            out = fopen(argv[index] + 4, "w");
        else if (!strncmp(argv[index], "mark=", 5))
            mark = strtoull(argv[index] + 5, NULL, 16);
    }
    if (!out || !mark) {
        fprintf(stderr, "counter: out=FILE and mark=ADDRESS are needed\n");
        return -1;
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
    return 0;
}
