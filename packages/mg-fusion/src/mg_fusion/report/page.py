"""The page itself: sections from :mod:`mg_fusion.report.collect`, charts from :mod:`mg_fusion.report.svg`."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

from mg_data.contract import UsageError
from mg_fusion import __version__
from mg_fusion.report import collect, svg
from mg_fusion.table import percent


def _class_bars(run: collect.Run) -> dict[str, str]:
    before, after = collect.fused_scores(run)
    latest = after or before or {}
    earlier = {item["index"]: item["f1"] for item in before["per_class"]} if before and after else {}
    rows = []
    for item in sorted(latest["per_class"], key=lambda item: (-item["support"], item["index"])):
        if not item["support"]:
            continue
        values = [earlier.get(item["index"]), item["f1"]] if earlier else [item["f1"]]
        rows.append((str(item["name"]), values, f"{item['support']} clips, {percent(item['f1'])}"))
    if not rows:
        raise collect.AbsentError("no class has a clip")
    names = ["before pseudo-labels", "after pseudo-labels"] if earlier else ["fused"]
    unseen = sum(not item["support"] for item in latest["per_class"])
    return {
        "legend": svg.legend(names) if earlier else "",
        "chart": svg.bar_rows(rows, names, "F1 of each class, most frequent first"),
        "unseen": f"{unseen} classes have no target clip and are left out." if unseen else "",
    }


def _confusion(run: collect.Run) -> dict[str, str]:
    before, after = collect.fused_scores(run)
    latest = after or before or {}
    # A class that is neither the truth nor the answer of any clip would be an empty row and column.
    used = [item["index"] for item in latest["per_class"] if item["support"] or item["predicted"]]
    names = [str(latest["per_class"][index]["name"]) for index in used]
    counts = [[latest["confusion"][row][column] for column in used] for row in used]
    empty = len(latest["per_class"]) - len(used)
    return {
        "chart": svg.confusion_grid(counts, names, "Confusion matrix of the fused result"),
        "left_out": f"{empty} classes that are neither truth nor answer of a clip are left out."
        if empty
        else "",
    }


def _reliability(run: collect.Run) -> dict[str, Any]:
    pair = collect.reliability_pair(run)
    charts = [
        svg.reliability_chart(
            item["table"], f"tau {item['tau']:g}: ECE {percent(item['ece'])} %", min(index, 1)
        )
        for index, item in enumerate(pair["pairs"])
    ]
    return {"round": pair["round"], "charts": charts}


def _curves(run: collect.Run) -> list[dict[str, Any]]:
    groups = []
    for log in collect.training_logs(run):
        charts = []
        series = {
            field: [
                (float(item["epoch"]), float(item[field]))
                for item in log["epochs"]
                if item.get(field) is not None
            ]
            for field in ("loss", "train_accuracy", "val_accuracy")
        }
        if series["loss"]:
            charts.append(svg.line_chart([svg.Line("loss", series["loss"])], "training loss"))
        accuracy = [
            svg.Line(title, series[field])
            for field, title in (("train_accuracy", "training"), ("val_accuracy", "validation"))
            if series[field]
        ]
        if accuracy:
            charts.append(
                svg.line_chart(accuracy, "accuracy", percent=True)
                + svg.legend([line.name for line in accuracy])
            )
        groups.append({"title": f"{log['branch']}, {log['round']}", "charts": charts})
    return groups


def _vote(run: collect.Run) -> dict[str, Any]:
    if run.fusion is None:
        raise collect.AbsentError(run.problems.get("vote", "there is no fusion.json"))
    vote = run.fusion
    models = vote.baselines.get("singles", {})
    region = vote.search.get("region", {}).get("weights", {})
    rows: list[tuple[str, list[float | None], str]] = []
    for key, weight in vote.weights.items():
        spread = f" ({region[key][0]:g} to {region[key][1]:g})" if key in region else ""
        rows.append((key, [weight], f"{weight:.3g}{spread}" if weight else "weight 0: left out"))
    return {
        "vote": vote,
        "chart": svg.bar_rows(rows, ["weight"], "Vote weights"),
        "models": models,
        "metric": "nll" if vote.metric == "nll" else "share",
    }


def render(folder: Path) -> str:
    """Return the report of a run folder as one HTML page.

    Raises:
        UsageError: no such folder, or jinja2 is not installed.
    """
    if not folder.is_dir():
        raise UsageError(f"report: {folder} is no folder; give the run folder that mg run wrote")
    try:
        import jinja2
    except ImportError:
        raise UsageError("report: jinja2 is not installed; pip install 'mg-fusion[report]'") from None

    run = collect.open_run(folder)
    sections = {
        "headline": run.guard("headline", lambda: collect.headline(run)),
        "rows": run.guard("rows", lambda: collect.result_rows(run)),
        "classes": run.guard("classes", lambda: _class_bars(run)),
        "confusion": run.guard("confusion", lambda: _confusion(run)),
        "reliability": run.guard("reliability", lambda: _reliability(run)),
        "pseudo": run.guard("pseudo", lambda: collect.pseudo_scores(run)),
        "curves": run.guard("curves", lambda: _curves(run)),
        "vote": run.guard("vote", lambda: _vote(run)),
        "stores": run.guard("stores", lambda: collect.store_rows(run)),
    }
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["percent"] = percent
    source = resources.files("mg_fusion").joinpath("templates", "report.html.j2").read_text(encoding="utf-8")
    return environment.from_string(source).render(
        run=run, problems=run.problems, version=__version__, **sections
    )
