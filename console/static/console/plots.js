// Draws the plots of the statistics from the tables beside them, which show the same without JavaScript.

const HEIGHT = 200;
const GAP = 0.3; // share of a bar's width
const DASHES = [[], [6, 4], [2, 4]];

const probe = document.createElement("span");
probe.hidden = true;
document.body.append(probe);
/** A colour of tokens.css for the canvas: the browser resolves light-dark(). */
function colour(name) {
  probe.style.color = `var(${name})`;
  return getComputedStyle(probe).color;
}

const WORDS = {
  count: (value) => String(value),
  dollars: (value) => `$${value < 10 && value % 1 ? value.toFixed(2) : value.toFixed(0)}`,
  seconds: (value) => {
    if (value < 60) return `${value} s`;
    if (value < 3600) return `${Math.floor(value / 60)}:${String(Math.round(value % 60)).padStart(2, "0")}`;
    return `${+(value / 3600).toFixed(1)} h`;
  },
};
const STEPS = {
  count: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 2e5, 5e5, 1e6],
  dollars: [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4],
  seconds: [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400],
};

function read(table) {
  const rows = [...table.tBodies[0].rows];
  const labels = rows.map((row) => row.cells[0].textContent);
  const series = [...table.tHead.rows[0].cells].slice(1).map((_, column) => rows.map((row) => {
    const value = row.cells[column + 1].dataset.value;
    return value === "" ? null : Number(value);
  }));
  return { labels, series };
}

/** Stack the series; the highest sum is drawn first, so that the lower ones cover it. */
function stacked(series) {
  const sums = series[0].map(() => 0);
  return series.map((values) => values.map((value, place) => { sums[place] += value ?? 0; return sums[place]; })).reverse();
}

function axes(labels, unit, width) {
  const every = Math.ceil(labels.length / Math.max(2, Math.floor(width / 72)));
  const text = { stroke: colour("--faint"), font: "11px system-ui, sans-serif", ticks: { show: false } };
  return [
    {
      ...text, grid: { show: false }, size: 28,
      splits: () => labels.map((_, place) => place).filter((place) => (labels.length - 1 - place) % every === 0),
      values: (_, places) => places.map((place) => labels[place]),
    },
    {
      ...text, grid: { stroke: colour("--plot-grid"), width: 1 }, size: 52, incrs: STEPS[unit], space: 44,
      values: (_, found) => found.map(WORDS[unit]),
    },
  ];
}

function draw(place) {
  const { labels, series } = read(document.getElementById(place.dataset.plot));
  const { kind, unit } = place.dataset;
  const width = place.clientWidth;
  const colours = ["--plot-1", "--plot-3", "--plot-4", "--line-button", "--plot-2"].map(colour);
  const lines = kind === "lines" ? ["--plot-1", "--plot-2", "--plot-3"].map(colour) : colours;
  const bars = kind === "bars" && uPlot.paths.bars({ size: [1 - GAP, 48] });
  const drawn = kind === "bars" ? stacked(series) : series;
  const drawnSeries = drawn.map((_, at) => {
    const own = kind === "bars" ? colours[series.length - 1 - at] : lines[at];
    if (kind === "bars") return { paths: bars, fill: own, stroke: own, width: 0, points: { show: false } };
    const steps = kind === "steps";
    return {
      stroke: own, width: 2, dash: steps ? [] : DASHES[at], spanGaps: true,
      paths: steps ? uPlot.paths.stepped({ align: -1 }) : undefined,
      fill: steps ? own.replace("rgb(", "rgba(").replace(")", ", 0.12)") : undefined,
      points: { show: !steps && labels.length < 40, size: 5, fill: own },
    };
  });
  const edge = kind === "bars" ? 0.6 : 0.2;
  place.replaceChildren();
  new uPlot({
    width, height: HEIGHT, legend: { show: false }, cursor: { show: false },
    padding: [kind === "bars" ? 18 : 8, 16, 0, 0],
    scales: {
      x: { time: false, range: () => [-edge, labels.length - 1 + edge] },
      y: { range: (_, low, high) => [0, Math.max(high * 1.05, STEPS[unit][0])] },
    },
    axes: axes(labels, unit, width),
    series: [{}, ...drawnSeries],
    hooks: kind === "bars" && width / labels.length > 48 ? { draw: [(plot) => totals(plot, drawn[0], unit)] } : {},
  }, [labels.map((_, at) => at), ...drawn], place);
}

function totals(plot, sums, unit) {
  const { ctx } = plot;
  const ratio = devicePixelRatio;
  ctx.save();
  ctx.font = `${11 * ratio}px system-ui, sans-serif`;
  ctx.fillStyle = colour("--muted");
  ctx.textAlign = "center";
  sums.forEach((sum, place) => {
    if (sum) ctx.fillText(WORDS[unit](sum), plot.valToPos(place, "x", true), plot.valToPos(sum, "y", true) - 5 * ratio);
  });
  ctx.restore();
}

const places = [...document.querySelectorAll("[data-plot]")];
places.forEach((place) => { place.hidden = false; });
const drawAll = () => places.forEach(draw);
drawAll();
let width = innerWidth;
addEventListener("resize", () => { if (innerWidth !== width) { width = innerWidth; drawAll(); } });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
new MutationObserver(drawAll).observe(document.documentElement, { attributeFilter: ["data-theme"] });
