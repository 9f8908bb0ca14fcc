import { type EChartsCoreOption, init } from "echarts";
import type { Plot } from "./results.ts";

const WIDTH = 860;
const BAR_HEIGHT = 26;
const LINES_HEIGHT = 420;

/** A plot's picture, as SVG. */
export function draw(plot: Plot): string {
  const names = [...new Set(plot.series.flatMap(({ points }) => points.map(({ at }) => `${at}`)))];
  const height = plot.kind === "bars" ? 130 + names.length * BAR_HEIGHT : LINES_HEIGHT;
  const chart = init(null, null, { renderer: "svg", ssr: true, width: WIDTH, height });
  chart.setOption({
    animation: false,
    backgroundColor: "#ffffff",
    title: { text: plot.title, left: "center", textStyle: { fontSize: 14 } },
    legend: { top: 28 },
    grid: { left: 20, right: 40, top: 70, bottom: 40, containLabel: true },
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
  const all = plot.series.flatMap(({ points }) => points.map(({ at }) => Number(at)));
  const axis = { nameLocation: "middle", minorSplitLine: { show: true } };
  return {
    xAxis: {
      ...axis,
      type: "log",
      name: plot.across,
      nameGap: 26,
      min: Math.min(...all),
      max: Math.max(...all),
    },
    yAxis: { ...axis, type: "log", name: plot.up, nameGap: 52 },
    series: plot.series.map(({ name, points }) => ({
      type: "line",
      name,
      symbolSize: 5,
      data: points.map(({ at, value }) => [at, value]),
    })),
  };
}
