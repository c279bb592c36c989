"""`armlet security`: what a graph's processes may do, for SROS 2."""

from __future__ import annotations

import argparse
from pathlib import Path

from armlet.cli.terminal.arguments import output_file
from armlet.cli.terminal.output import refuse, show


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser("security", help="write the SROS 2 policy of a graph")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    policy = verbs.add_parser(
        "policy",
        help="write what each node of a graph may do, for `ros2 security`",
        description="Write an SROS 2 policy file (policy.xml): an enclave for each node of a graph "
        "with what it publishes, subscribes to and serves, one for those who operate it (operator) "
        "and one for those who only look (viewer). `ros2 security generate_artifacts` makes keys "
        "and signed permissions of it. Nothing is started, and no ROS is needed.",
    )
    policy.add_argument("name", metavar="GRAPH", help="graph, as of `armlet up`")
    policy.add_argument(
        "arguments",
        nargs="*",
        metavar="arg:=value",
        help="arguments of the graph, the same as it is started with",
    )
    policy.add_argument(
        "--output",
        type=output_file,
        metavar="FILE",
        help="file to write; one that is replaced is kept as FILE.bak (default: print it)",
    )
    policy.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from armlet.bringup import BringupError, graph
    from armlet.cli.graph.up import parse_arguments
    from armlet.files import keep_previous, replace_file
    from armlet.security import enclaves, write
    from armlet.start_check import check

    try:
        chosen = graph(args.name)
        given = parse_arguments(args.arguments)
        nodes = chosen.nodes(given)
        check(nodes)
        found = enclaves(nodes, given.get("namespace", ""), chosen.part)
    except BringupError as error:
        return refuse("security policy", error)
    text = write(found)
    if args.output is None:
        show(text.rstrip("\n"))
        return 0
    output: Path = args.output
    kept = keep_previous(output)
    replace_file(output, text.encode())
    paths = " ".join(enclave.path for enclave in found)
    if kept is not None:
        show(f"kept what was there as {kept}")
    show(f"wrote {output}: {paths}\nnext: ros2 security generate_artifacts -k KEYSTORE -p {output}")
    return 0
