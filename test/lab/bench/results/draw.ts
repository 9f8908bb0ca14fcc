import { type EChartsCoreOption, init } from "echarts";
import type { Plot } from "./results.ts";

const WIDTH = 900;
const BAR_HEIGHT = 26;
const LINES_HEIGHT = 440;
/** Larger ratios of values use a logarithmic axis. */
const FAR_APART = 20;

/** Draws a plot as SVG. */
export function draw(plot: Plot): string {
  const names = [...new Set(plot.series.flatMap(({ points }) => points.map(({ at }) => `${at}`)))];
  const height = plot.kind === "bars" ? 150 + names.length * BAR_HEIGHT : LINES_HEIGHT;
  const chart = init(null, null, { renderer: "svg", ssr: true, width: WIDTH, height });
  chart.setOption({
    animation: false,
    backgroundColor: "#ffffff",
    textStyle: { fontFamily: "sans-serif" },
    title: { text: plot.title, left: "center", top: 6, textStyle: { fontSize: 14 } },
    legend: { top: 34, itemGap: 20, width: WIDTH - 60, textStyle: { fontSize: 11 } },
    // Wider than the labels' estimate, because fonts differ.
    grid: { left: 56, right: 40, top: 104, bottom: 44, containLabel: true },
    ...(plot.kind === "bars" ? bars(plot, names) : lines(plot)),
  });
  const svg = chart.renderToSVGString();
  chart.dispose();
  return svg;
}

function bars(plot: Plot, names: string[]): EChartsCoreOption {
  return {
    xAxis: { type: "value", name: plot.up, nameLocation: "middle", nameGap: 28 },
    yAxis: { type: "category", data: names, inverse: true },
    series: plot.series.map(({ name, points }) => ({
      type: "bar",
      stack: "all",
      name,
      data: names.map((each) => points.find(({ at }) => `${at}` === each)?.value ?? 0),
    })),
  };
}

function lines(plot: Plot): EChartsCoreOption {
  const points = plot.series.flatMap((each) => each.points);
  const [across, up] = [points.map(({ at }) => Number(at)), points.map(({ value }) => value)];
  const [min, max] = [Math.min(...across), Math.max(...across)];
  const isFarApart = Math.max(...up) > FAR_APART * Math.min(...up);
  const axis = { nameLocation: "middle", minorSplitLine: { show: true } };
  return {
    xAxis: {
      ...{ ...axis, type: "log", logBase: max > FAR_APART * min ? 10 : 2 },
      ...{ name: plot.across, nameGap: 26, min, max },
    },
    yAxis: { ...axis, type: isFarApart ? "log" : "value", name: plot.up, nameGap: 48 },
    series: plot.series.map(({ name, points: own }) => ({
      ...{ type: "line", name, symbolSize: 5 },
      data: own.map(({ at, value }) => [at, value]),
    })),
  };
}
