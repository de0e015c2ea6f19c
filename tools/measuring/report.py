"""The tables of tools/bench."""

from .questions import HOT_ROUNDS, LISTINGS
from .tables import Table, median


def build(tree, built, floor):
    table = Table(
        f"Building, {tree.name}: the source in the page cache as far as it fits",
        "format", "wall s", "CPU s", "peak MiB", "image MB", "metadata bytes per entry",
    )
    for form, cost in built:
        if cost is None:
            continue
        image = form.image_bytes / 1e6
        table.add(form.name, cost.wall, cost.cpu, cost.peak_mib, image, form.metadata_bytes / tree.entries)
    # What reading the tree takes, whatever is made of it.
    table.add("tar, to a pipe", floor.wall, floor.cpu, floor.peak_mib, None, None)
    table.print()


def middle(rounds, what, key):
    return median([answers[what].get(key) for answers in rounds if what in answers])


def reads(tree, answers, ask):
    """Counts first, for they are exact; then times."""
    table = Table(
        f"Reads of the devices per random file, {tree.name}",
        "format", f"first {ask.first}: reads", "KiB", "most for one file",
        f"{ask.sample:,} cold: reads", "KiB", "index-warm: reads", "KiB", "most for one file",
    )
    for name, rounds in answers.items():
        if not rounds:
            continue
        most = [max(answers[what]["counts"]["most_reads"] for answers in rounds) for what in ("first", "warm")]
        cells = [middle(rounds, what, key) for what in ("first", "cold", "warm") for key in ("device_reads", "kib")]
        table.add(name, *cells[:2], most[0], *cells[2:], most[1])
    table.print()

    table = Table(
        f"Time of a random file in us, {tree.name}; client and daemon on one processor",
        "format", "mount ms", "cold p50", "p99", "max", "index-warm p50", "p99", "max",
        "CPU of the client, cold", "of the daemon, cold",
    )
    for name, rounds in answers.items():
        if rounds:
            keys = [("cold", "p50_us"), ("cold", "p99_us"), ("cold", "max_us")]
            keys += [("warm", "p50_us"), ("warm", "p99_us"), ("warm", "max_us")]
            keys += [("cold", "client_us"), ("cold", "server_us")]
            mount = median([one["mount"] for one in rounds]) * 1000
            table.add(name, mount, *(middle(rounds, *key) for key in keys))
    table.print()

    table = Table(
        f"Hot files, {tree.name}: the same {ask.sample:,} files {HOT_ROUNDS} times over; memory of the daemon",
        "format", "files/s, 1 client", "2 clients", "p50 us", "CPU us per file",
        "resident after the cold files, MiB", "after the listings",
    )
    for name, rounds in answers.items():
        if rounds:
            cells = [middle(rounds, *key) for key in [("hot 1", "per_second"), ("hot 2", "per_second"), ("hot 1", "p50_us")]]
            cpu = middle(rounds, "hot 1", "client_us") + middle(rounds, "hot 1", "server_us")
            resident = [median([one[key] for one in rounds]) for key in ("resident after cold", "resident")]
            table.add(name, *cells, cpu, *resident)
    table.print()


def listings(tree, answers):
    table = Table(
        f"Listing everything, {tree.name}: seconds (reads of the devices)",
        "format", *(f"{command}, {state}" for command in LISTINGS for state in ("cold", "warm")),
    )
    for name, rounds in answers.items():
        if rounds:
            cells = []
            for command in LISTINGS:
                for state in ("cold", "warm"):
                    what = f"{command} {state}"
                    seconds, count = middle(rounds, what, "seconds"), middle(rounds, what, "device_reads")
                    cells.append(f"{seconds:.2f} ({count:,.0f})")
            table.add(name, *cells)
    table.print()
    table = Table(f"Requests to the daemon, {tree.name}", "work", "requests")
    for rounds in answers.values():
        if rounds and rounds[-1].get("cold requests") is not None:
            last = rounds[-1]
            files = last["cold"]["operations"]
            table.add(f"{files:,} cold files", spelled(last["cold requests"]))
            table.add(f"the same {HOT_ROUNDS} times more", spelled(last["hot requests"]))
            for command in LISTINGS:
                table.add(f"{command}, cold", spelled(last[f"{command} requests"]))
            break
    table.print()


def spelled(requests):
    return ", ".join(f"{count:,} {name}" for name, count in requests.items()) or "none"


def walks(forms, ask, repeats):
    """A walk over all entries, by everyone and by the null file system."""
    table = Table(
        f"Walking over everything, cold; medians of {repeats}",
        "file system", *(f"{command} s" for command in LISTINGS), *(f"{command}: x null" for command in LISTINGS),
    )
    times = {}
    for _ in range(repeats):
        for command in LISTINGS:
            for form in forms:
                form.mount()
                times.setdefault((form.name, command), []).append(ask.list_all(form, command)["seconds"])
                form.unmount()
    null = forms[-1].name
    for form in forms:
        seconds = [median(times[form.name, command]) for command in LISTINGS]
        ratios = [median(times[form.name, command]) / median(times[null, command]) for command in LISTINGS]
        table.add(form.name, *seconds, *ratios)
    return table
