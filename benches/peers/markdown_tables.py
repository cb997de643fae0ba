"""What the scripts that write tables share."""


def put_between_marks(file, mark, text):
    """Replaces what `file` has between the two comments of `mark`."""
    begin, end = f"<!-- {mark}: begin -->", f"<!-- {mark}: end -->"
    before, rest = file.read_text().split(begin)
    file.write_text(f"{before}{begin}\n{text}{end}{rest.split(end)[1]}")


def or_dash(figure, form):
    return "–" if figure is None else format(figure, form)


def heading(report):
    """The first lines: when, what and where."""
    machine = report["machine"]
    gigabytes = f"{machine['memory_bytes'] / 1e9:.0f} GB" if machine.get("memory_bytes") else "memory unknown"
    instructions = " ".join(machine.get("instruction_sets", []))
    return [
        f"{report['date']}, commit {report['commit']}, {report['reembed']}.",
        f"{machine.get('cpu')}, {machine.get('cores')} cores, {gigabytes}; {instructions};",
        f"Linux {machine['kernel']}, Python {machine['python']}.",
    ]
