// A plugin for QEMU's user mode that counts the instructions of a 64-bit ARM program: all of them, and those that multiply
// and add. benches/arm/count.py builds and runs it. The declarations are those of QEMU's plugin interface, version 1.

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

struct qemu_plugin_tb;
struct qemu_plugin_insn;
enum { ADD_U64 = 0 };

size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *block);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *block, size_t at);
const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *instruction);
void qemu_plugin_register_vcpu_tb_trans_cb(uint64_t id, void (*translated)(uint64_t, struct qemu_plugin_tb *));
void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *block, int operation, void *counter, uint64_t value);
void qemu_plugin_register_atexit_cb(uint64_t id, void (*ended)(uint64_t, void *), void *data);

EXPORT int qemu_plugin_version = 1;

static uint64_t all, multiply_adds, smlal, sdot;

// The encodings are those of the Arm Architecture Reference Manual, "Advanced SIMD".
static int is_fmla(uint32_t code) {
  return (code & 0xBF20FC00) == 0x0E20CC00 || (code & 0xBF80B000) == 0x0F801000;
}
static int is_smlal(uint32_t code) {
  return (code & 0xBF20FC00) == 0x0E208000 || (code & 0xBF00F400) == 0x0F002000;
}
static int is_sdot(uint32_t code) { return (code & 0xBF20FC00) == 0x0E009400; }

static void translated(uint64_t id, struct qemu_plugin_tb *block) {
  (void)id;
  size_t count = qemu_plugin_tb_n_insns(block);
  uint64_t of_f32 = 0, of_16 = 0, of_8 = 0;
  for (size_t at = 0; at < count; at++) {
    uint32_t code;
    memcpy(&code, qemu_plugin_insn_data(qemu_plugin_tb_get_insn(block, at)), sizeof code);
    of_f32 += is_fmla(code);
    of_16 += is_smlal(code);
    of_8 += is_sdot(code);
  }
  qemu_plugin_register_vcpu_tb_exec_inline(block, ADD_U64, &all, count);
  qemu_plugin_register_vcpu_tb_exec_inline(block, ADD_U64, &multiply_adds, of_f32);
  qemu_plugin_register_vcpu_tb_exec_inline(block, ADD_U64, &smlal, of_16);
  qemu_plugin_register_vcpu_tb_exec_inline(block, ADD_U64, &sdot, of_8);
}

static void ended(uint64_t id, void *data) {
  (void)id, (void)data;
  fprintf(stderr, "\ncounted %llu %llu %llu %llu\n", (unsigned long long)all, (unsigned long long)multiply_adds,
          (unsigned long long)smlal, (unsigned long long)sdot);
}

EXPORT int qemu_plugin_install(uint64_t id, const void *info, int count, char **values) {
  (void)info, (void)count, (void)values;
  qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
  qemu_plugin_register_atexit_cb(id, ended, NULL);
  return 0;
}
