/** Fields for a value, made from its JSON schema. */

import { useId, useState } from "preact/hooks";
import { compactJson, readJson } from "../api/client";
import { example, nullable, resolve, type Schema } from "../schema";

interface Props {
  schema: Schema;
  root: Schema;
  label: string;
  value: unknown;
  onChange: (value: unknown) => void;
  required?: boolean;
}

type Fields = Record<string, unknown>;

export function SchemaField(props: Props) {
  const schema = resolve(props.schema, props.root);
  const inner = nullable(schema);
  if (inner) return <Nullable {...props} schema={inner} />;
  if (schema.enum) return <Choice {...props} schema={schema} />;
  switch (schema.type) {
    case "string":
    case "integer":
    case "number":
    case "boolean":
      return <Scalar {...props} schema={schema} />;
    case "object":
      return schema.properties ? <ObjectFields {...props} schema={schema} /> : <JsonField {...props} />;
    case "array":
      return typeof schema.items === "object" ? (
        <Items {...props} schema={schema} items={schema.items} />
      ) : (
        <JsonField {...props} />
      );
    default:
      return <JsonField {...props} />;
  }
}

function Scalar({ schema, label, value, onChange, required }: Props) {
  const hint = useId();
  const described = schema.description ? hint : undefined;
  const numeric = schema.type === "integer" || schema.type === "number";
  const field =
    schema.type === "boolean" ? (
      <input
        type="checkbox"
        checked={value === true}
        aria-describedby={described}
        onChange={(event) => onChange(event.currentTarget.checked)}
      />
    ) : numeric ? (
      <input
        type="number"
        step={schema.type === "integer" ? 1 : "any"}
        min={schema.minimum}
        max={schema.maximum}
        required={required}
        value={value as number}
        aria-describedby={described}
        onInput={(event) => onChange(event.currentTarget.value === "" ? undefined : event.currentTarget.valueAsNumber)}
      />
    ) : (
      <input
        value={value as string}
        minLength={schema.minLength}
        maxLength={schema.maxLength}
        aria-describedby={described}
        onInput={(event) => onChange(event.currentTarget.value)}
      />
    );
  return (
    <div>
      {schema.type === "boolean" ? (
        <label class="check">
          {field} {label}
        </label>
      ) : (
        <label>
          {required ? label : `${label} (optional)`}
          {field}
        </label>
      )}
      {schema.description && (
        <small id={hint} class="quiet">
          {schema.description}
        </small>
      )}
    </div>
  );
}

function Choice({ schema, label, value, onChange }: Props) {
  const choices = schema.enum ?? [];
  return (
    <label>
      {label}
      <select value={choices.indexOf(value)} onChange={(event) => onChange(choices[Number(event.currentTarget.value)])}>
        {choices.map((each, index) => (
          <option key={index} value={index}>
            {String(each)}
          </option>
        ))}
      </select>
    </label>
  );
}

function Nullable({ schema, root, label, value, onChange }: Props) {
  const set = value !== null && value !== undefined;
  return (
    <fieldset>
      <legend>{label}</legend>
      <label class="check">
        <input type="checkbox" checked={set} onChange={() => onChange(set ? null : example(schema, root))} /> has a
        value
      </label>
      {set && <SchemaField schema={schema} root={root} label={label} value={value} onChange={onChange} required />}
    </fieldset>
  );
}

function ObjectFields({ schema, root, label, value, onChange }: Props) {
  const fields = (value ?? {}) as Fields;
  return (
    <fieldset>
      <legend>{label}</legend>
      {Object.entries(schema.properties ?? {}).map(([name, each]) => (
        <SchemaField
          key={name}
          schema={each}
          root={root}
          label={each.title ?? name}
          value={name in fields ? fields[name] : resolve(each, root).default}
          required={schema.required?.includes(name)}
          onChange={(next) => onChange({ ...fields, [name]: next })}
        />
      ))}
    </fieldset>
  );
}

function Items({ items, root, label, value, onChange }: Props & { items: Schema }) {
  const list = Array.isArray(value) ? (value as unknown[]) : [];
  return (
    <fieldset>
      <legend>{label}</legend>
      {list.map((each, index) => (
        <div key={index} class="item">
          <SchemaField
            schema={items}
            root={root}
            label={`${index + 1}`}
            value={each}
            required
            onChange={(next) => onChange(list.with(index, next))}
          />
          <button
            type="button"
            class="small"
            aria-label={`Remove item ${index + 1}`}
            onClick={() => onChange(list.toSpliced(index, 1))}
          >
            Remove
          </button>
        </div>
      ))}
      <button type="button" class="small" onClick={() => onChange([...list, example(items, root)])}>
        Add
      </button>
    </fieldset>
  );
}

/** JSON as text. The value changes when the text is JSON. */
export function JsonField({ label, value, onChange }: Pick<Props, "label" | "value" | "onChange">) {
  const [text, setText] = useState(JSON.stringify(value ?? null, null, 2));
  const problem = compactJson(text);
  const hint = useId();
  return (
    <label>
      {label} in JSON
      <textarea
        rows={6}
        class="mono"
        value={text}
        aria-invalid={problem instanceof Error}
        aria-describedby={hint}
        onInput={(event) => {
          const next = event.currentTarget.value;
          setText(next);
          if (!(compactJson(next) instanceof Error)) onChange(readJson(next));
        }}
      />
      <small id={hint} class="bad">
        {problem instanceof Error ? problem.message : ""}
      </small>
    </label>
  );
}
