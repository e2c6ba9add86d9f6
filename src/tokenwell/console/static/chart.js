// The usage chart: stacked bars by uPlot, colours read from the legend so that the stylesheet is their only source.
(() => {
  const $ = (selector, within = document) => within.querySelector(selector);
  const isChinese = document.documentElement.lang.startsWith("zh");
  const exact = (text) => new Intl.NumberFormat("en-US").format(BigInt(text));
  const compact = (number) => new Intl.NumberFormat(isChinese ? "zh-CN" : "en-US", { notation: "compact", maximumFractionDigits: 2 }).format(number);
  let plot = null, drawn = null;

  /** Load the library once, when there is a chart to draw. */
  const library = (address) => library.loading ??= new Promise((resolve, reject) => {
    const script = Object.assign(document.createElement("script"), { src: address, onload: resolve, onerror: reject });
    document.head.append(script);
  });

  function element(tag, className, ...children) {
    const made = document.createElement(tag);
    made.className = className;
    made.append(...children);
    return made;
  }

  async function draw() {
    const figure = $("#usage");
    if (!figure) return;
    await Promise.all([library(figure.dataset.script), document.fonts.ready]);
    if (!figure.isConnected || !figure.clientWidth) return;
    plot?.destroy();
    figure.replaceChildren();
    drawn = figure;
    const { labels, used } = JSON.parse(figure.dataset.chart), swatches = [...document.querySelectorAll("#legend .sw")];
    const names = swatches.map((each) => each.nextElementSibling.textContent), fills = swatches.map((each) => getComputedStyle(each).backgroundColor);
    const totals = labels.map((_, at) => used.reduce((sum, series) => sum + BigInt(series[at]), 0n));
    const sums = [];
    for (const series of used) sums.push(series.map((value, at) => Number(value) + (sums.length ? sums.at(-1)[at] : 0)));
    const probe = element("i", "dim");
    figure.append(probe);
    const ink = getComputedStyle(probe).color, card = getComputedStyle(figure.closest(".card"));
    probe.remove();
    const tip = Object.assign(element("div", "tip"), { hidden: true });
    const places = labels.map((_, at) => at), isNarrow = figure.clientWidth < 560;
    const step = Math.max(1, Math.ceil(labels.length / (isNarrow ? 3 : 7)));

    function show(at) {
      tip.hidden = at == null;
      if (at == null) return;
      const rows = names.map((name, series) => {
        const swatch = element("span", "sw");
        swatch.dataset.m = swatches[series].dataset.m;
        return element("div", "", swatch, element("span", "", name), element("b", "", exact(used[series][at])));
      });
      tip.replaceChildren(element("h3", "", labels[at]), ...rows.reverse(), element("div", "sum", element("span", "", figure.dataset.total), element("b", "", exact(totals[at]))));
      const x = plot.valToPos(at, "x") + plot.bbox.left / devicePixelRatio, width = tip.offsetWidth;
      tip.style.left = `${Math.max(0, x + width + 18 > figure.clientWidth ? x - width - 14 : x + 14)}px`;
    }

    const font = `11px ${getComputedStyle(document.body).fontFamily}`, bars = uPlot.paths.bars({ size: [0.62, 22], radius: [0.12, 0] });
    plot = new uPlot({
      width: figure.clientWidth, height: figure.clientHeight, padding: [10, isNarrow ? 18 : 8, 0, 0], legend: { show: false },
      cursor: { y: false, points: { show: false }, drag: { x: false, y: false } },
      scales: { x: { time: false, range: () => [-0.6, labels.length - 0.4] }, y: { range: (_, __, most) => [0, (most || 1) * 1.06] } },
      series: [{}, ...sums.map((_, at) => ({ fill: fills[sums.length - 1 - at], stroke: card.backgroundColor, width: labels.length > 120 ? 0 : 1, paths: bars, points: { show: false } }))],
      axes: [
        { stroke: ink, font, size: 28, gap: 8, grid: { show: false }, ticks: { show: false }, splits: () => places.filter((at) => (labels.length - 1 - at) % step === 0), values: (_, values) => values.map((at) => labels[at]) },
        { stroke: ink, font, size: 56, gap: 8, grid: { stroke: card.borderTopColor, width: 1 }, ticks: { show: false }, space: 46, values: (_, values) => values.map((value) => value ? compact(value) : "0") },
      ],
      hooks: { setCursor: [(made) => show(made.cursor.left < 0 ? null : made.cursor.idx)] },
    }, [places, ...sums.slice().reverse()], figure);
    figure.append(tip);
    let at = labels.length;
    figure.onkeydown = (event) => {
      if (event.key === "Escape") return show(null);
      const move = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity }[event.key];
      if (!move) return;
      event.preventDefault();
      at = Math.min(labels.length - 1, Math.max(0, at + move));
      plot.setCursor({ left: plot.valToPos(at, "x"), top: 1 });
      const live = $("#announce");
      if (live) live.textContent = `${labels[at]}: ${exact(totals[at])}`;
    };
    figure.onblur = () => { plot.setCursor({ left: -10, top: -10 }); show(null); };
    figure.dataset.drawn = "";
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest("#as-table");
    if (!button) return;
    const wanted = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", String(wanted));
    $("#usage-table").toggleAttribute("data-hidden", !wanted);
    $("#usage").hidden = wanted;
    if (!wanted) draw();
  });

  const observer = new ResizeObserver(() => { if (drawn?.isConnected && plot && Math.abs(plot.width - drawn.clientWidth) > 1) draw(); });
  observer.observe(document.body);
  addEventListener("themechange", draw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  document.addEventListener("htmx:after:swap", (event) => { if (event.detail.ctx.target?.contains?.($("#usage"))) draw(); });
  draw();
})();
