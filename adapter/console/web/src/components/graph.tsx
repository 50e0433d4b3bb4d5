/** The waits as a graph. Its layout is dagre's. */

import { graphlib, layout } from "@dagrejs/dagre";
import { useMemo } from "preact/hooks";
import { useLocation } from "preact-iso";
import type { Waits } from "../api/schema";
import { state } from "../format";

const HEIGHT = 44;
const LETTER = 7.4; // the width of a letter of the targets' font, in pixels
const PADDING = 24;
const MOST = 200; // nodes: a layout of more takes too long, and nobody reads it

export function Graph({ of, stuck }: { of: Waits; stuck: Set<string> }) {
  const { route } = useLocation();
  const shown = choose(of, stuck);
  const nodes = new Map(shown.nodes.map((node) => [node.id, node]));
  const shape = JSON.stringify([[...nodes.keys()], shown.edges]);
  const placed = useMemo(() => place(shown), [shape]); // The layout depends on the edges only: a changed status keeps it.
  return (
    <div class="graph" tabIndex={0} role="region" aria-label="Graph of waits">
      <svg
        width={placed.width}
        height={placed.height}
        viewBox={`0 0 ${placed.width} ${placed.height}`}
        role="group"
        aria-label={`${shown.nodes.length} invocations, ${shown.edges.length} waits`}
      >
        <defs>
          <marker
            id="arrow"
            viewBox="0 0 8 8"
            refX={7}
            refY={4}
            markerWidth={8}
            markerHeight={8}
            orient="auto-start-reverse"
          >
            <path d="M0 0L8 4L0 8z" />
          </marker>
        </defs>
        {placed.edges.map((edge) => (
          <path
            key={`${edge.from} ${edge.to}`}
            class={`edge ${edge.kind} ${stuck.has(edge.from) && stuck.has(edge.to) ? "stuck" : ""}`}
            d={edge.path}
            marker-end="url(#arrow)"
          >
            <title>{edge.kind === "key" ? "waits for the key that it owns" : "waits for the result of its call"}</title>
          </path>
        ))}
        {placed.nodes.map(({ id, x, y, width }) => {
          const node = nodes.get(id)!;
          return (
            <a
              key={id}
              href={`/console/invocations/${node.id}`}
              onClick={(event) => {
                event.preventDefault();
                route(`/console/invocations/${node.id}`);
              }}
            >
              <g
                class={`node ${state(node)} ${stuck.has(node.id) ? "stuck" : ""}`}
                transform={`translate(${x - width / 2} ${y - HEIGHT / 2})`}
              >
                <rect width={width} height={HEIGHT} rx={6} />
                <text x={PADDING / 2} y={18} class="mono">
                  {node.target}
                </text>
                <text x={PADDING / 2} y={35} class="quiet">
                  {state(node)}
                  {stuck.has(node.id) && ", in a deadlock"}
                </text>
              </g>
            </a>
          );
        })}
      </svg>
      {shown.nodes.length < of.nodes.length && (
        <p class="quiet">
          The graph shows {shown.nodes.length} of {of.nodes.length} invocations, those in a deadlock first.
        </p>
      )}
    </div>
  );
}

/** Return the part that is drawn: all of it, or what is in a deadlock and then the first of the rest. */
function choose(of: Waits, stuck: Set<string>): Pick<Waits, "nodes" | "edges"> {
  if (of.nodes.length <= MOST) return of;
  const first = of.nodes.toSorted((one, other) => Number(stuck.has(other.id)) - Number(stuck.has(one.id)));
  const nodes = first.slice(0, MOST);
  const ids = new Set(nodes.map((node) => node.id));
  return { nodes, edges: of.edges.filter((edge) => ids.has(edge.from) && ids.has(edge.to)) };
}

interface Placed {
  width: number;
  height: number;
  nodes: { id: string; x: number; y: number; width: number }[];
  edges: { from: string; to: string; kind: string; path: string }[];
}

function place(of: Pick<Waits, "nodes" | "edges">): Placed {
  const graph = new graphlib.Graph();
  graph.setGraph({ rankdir: "LR", nodesep: 16, ranksep: 56, marginx: 8, marginy: 8 });
  graph.setDefaultEdgeLabel(() => ({}));
  const widths = new Map(of.nodes.map((node) => [node.id, node.target.length * LETTER + PADDING]));
  for (const node of of.nodes) graph.setNode(node.id, { width: widths.get(node.id)!, height: HEIGHT });
  const edges = of.edges.filter((edge) => graph.hasNode(edge.from) && graph.hasNode(edge.to));
  for (const edge of edges) graph.setEdge(edge.from, edge.to);
  layout(graph);
  const { width = 0, height = 0 } = graph.graph();
  return {
    width,
    height,
    nodes: of.nodes.map((node) => {
      const { x, y } = graph.node(node.id) as { x: number; y: number };
      return { id: node.id, x, y, width: widths.get(node.id)! };
    }),
    edges: edges.map((edge) => {
      const { points } = graph.edge(edge.from, edge.to) as { points: { x: number; y: number }[] };
      return { ...edge, path: `M${points.map((point) => `${point.x} ${point.y}`).join("L")}` };
    }),
  };
}
