//! The CPU and memory of this machine, read from `/proc` for reports.

use std::fs;
use std::thread::available_parallelism;

/// The properties of a machine that its speed depends on.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Machine {
    /// The model name of the CPU.
    pub cpu: Option<String>,
    /// CPUs that this process may use.
    pub cores: Option<usize>,
    /// The CPU's flags among [`INSTRUCTION_SETS`].
    pub instruction_sets: Vec<String>,
    /// Memory in bytes.
    #[serde(rename = "memory_bytes")]
    pub memory: Option<u64>,
}

/// The CPU flags, as Linux names them, that matter to matrix products: of x86-64, then of ARM.
pub const INSTRUCTION_SETS: [&str; 13] = [
    "avx2",
    "fma",
    "avx512f",
    "avx512_vnni",
    "avx512_bf16",
    "amx_tile",
    "amx_bf16",
    "amx_int8",
    "asimd",
    "asimddp",
    "i8mm",
    "bf16",
    "sve",
];

impl Machine {
    /// Reads `/proc`. Fields stay empty where the system does not provide them.
    pub fn read() -> Machine {
        let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
        Machine {
            cores: available_parallelism().ok().map(usize::from),
            ..Machine::from_proc(&text("/proc/cpuinfo"), &text("/proc/meminfo"))
        }
    }

    /// A machine from the texts of `/proc/cpuinfo` and `/proc/meminfo`.
    fn from_proc(cpuinfo: &str, meminfo: &str) -> Machine {
        let flags = field(cpuinfo, "flags").or(field(cpuinfo, "Features")).unwrap_or("");
        let flags: Vec<&str> = flags.split_whitespace().collect();
        let memory_kib = field(meminfo, "MemTotal")
            .and_then(|total| total.strip_suffix("kB"))
            .and_then(|kib| kib.trim().parse::<u64>().ok());
        Machine {
            cpu: field(cpuinfo, "model name").map(str::to_owned).or_else(|| arm_cpu(cpuinfo)),
            cores: None,
            instruction_sets: INSTRUCTION_SETS
                .into_iter()
                .filter(|name| flags.contains(name))
                .map(str::to_owned)
                .collect(),
            memory: memory_kib.map(|kib| kib * 1024),
        }
    }
}

/// An ARM CPU, of which Linux gives two numbers: who made it, and which part it is.
///
/// The names are those of ARM's technical reference manuals (MIDR_EL1).
fn arm_cpu(cpuinfo: &str) -> Option<String> {
    let maker = field(cpuinfo, "CPU implementer")?;
    let part = field(cpuinfo, "CPU part")?;
    Some(match (maker, part) {
        ("0x41", "0xd0c") => "ARM Neoverse N1".to_owned(),
        ("0x41", "0xd40") => "ARM Neoverse V1".to_owned(),
        ("0x41", "0xd49") => "ARM Neoverse N2".to_owned(),
        ("0x41", "0xd4f") => "ARM Neoverse V2".to_owned(),
        _ => format!("ARM implementer {maker}, part {part}"),
    })
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
    fn machine_is_parsed_from_proc() {
        let cpuinfo = "processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\nflags\t\t: fpu fma avx2 avx512f\n\n\
                       processor\t: 1\nmodel name\t: Some CPU @ 2 GHz\n";
        let machine = Machine::from_proc(cpuinfo, "MemFree: 3 kB\nMemTotal:       24000 kB\n");
        assert_eq!(machine.cpu.as_deref(), Some("Some CPU @ 2 GHz"));
        assert_eq!(machine.instruction_sets, ["avx2", "fma", "avx512f"]);
        assert_eq!(machine.memory, Some(24_576_000));
        assert_eq!(Machine::from_proc("", ""), Machine::default());
    }

    #[test]
    fn arm_machines_are_named_by_their_part() {
        let cpuinfo = |part| {
            format!(
                "processor\t: 0\nBogoMIPS\t: 243.75\nFeatures\t: fp asimd aes atomics asimddp\n\
                 CPU implementer\t: 0x41\nCPU architecture: 8\nCPU part\t: {part}\n"
            )
        };
        for (part, name) in [
            ("0xd0c", "ARM Neoverse N1"),
            ("0xd40", "ARM Neoverse V1"),
            ("0xd49", "ARM Neoverse N2"),
            ("0xd4f", "ARM Neoverse V2"),
            ("0xd08", "ARM implementer 0x41, part 0xd08"),
        ] {
            let machine = Machine::from_proc(&cpuinfo(part), "");
            assert_eq!(machine.cpu.as_deref(), Some(name));
            assert_eq!(machine.instruction_sets, ["asimd", "asimddp"]);
        }
    }
}
