//! What the machine says about itself, for reports. Readings only.

use std::fs;
use std::thread::available_parallelism;

/// A machine, as far as its speed depends on it.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Machine {
    /// The processor's own name.
    pub cpu: Option<String>,
    /// Processors that this process may use.
    pub cores: Option<usize>,
    /// Those of [`INSTRUCTION_SETS`] that the processor has, by the kernel's names.
    pub instruction_sets: Vec<String>,
    /// Memory of the machine, in bytes.
    #[serde(rename = "memory_bytes")]
    pub memory: Option<u64>,
}

/// The instruction sets that matter to matrix products.
pub const INSTRUCTION_SETS: [&str; 8] =
    ["avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile", "amx_bf16", "amx_int8"];

impl Machine {
    /// Asks the kernel. What it does not say (another system than Linux, another processor than x86-64) stays
    /// empty.
    pub fn read() -> Machine {
        let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
        Machine {
            cores: available_parallelism().ok().map(usize::from),
            ..Machine::of(&text("/proc/cpuinfo"), &text("/proc/meminfo"))
        }
    }

    /// A machine from the texts of `/proc/cpuinfo` and `/proc/meminfo`.
    fn of(cpu: &str, memory: &str) -> Machine {
        let flags: Vec<&str> = field(cpu, "flags").unwrap_or("").split_whitespace().collect();
        let memory = field(memory, "MemTotal")
            .and_then(|total| total.strip_suffix("kB"))
            .and_then(|kib| kib.trim().parse::<u64>().ok());
        Machine {
            cpu: field(cpu, "model name").map(str::to_owned),
            cores: None,
            instruction_sets: INSTRUCTION_SETS
                .into_iter()
                .filter(|name| flags.contains(name))
                .map(str::to_owned)
                .collect(),
            memory: memory.map(|kib| kib * 1024),
        }
    }
}

/// The value of the first line `name : value`.
fn field<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_read_from_the_kernel_s_words() {
        let cpu = "processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\nflags\t\t: fpu fma avx2 avx512f\n\n\
                   processor\t: 1\nmodel name\t: Some CPU @ 2 GHz\n";
        let machine = Machine::of(cpu, "MemFree: 3 kB\nMemTotal:       24000 kB\n");
        assert_eq!(machine.cpu.as_deref(), Some("Some CPU @ 2 GHz"));
        assert_eq!(machine.instruction_sets, ["avx2", "fma", "avx512f"]);
        assert_eq!(machine.memory, Some(24_576_000));
        assert_eq!(Machine::of("", ""), Machine::default());
    }
}
